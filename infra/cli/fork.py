"""escape fork: what if."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from economy.errors import InputError
from infra.cli.common import (
    Json,
    Namespace,
    State,
    Trust,
    emit,
    guarded,
    models_of,
    out,
    settings,
    tell,
    tracked,
    using_stack,
)
from infra.cli.run import CARRIERS, pair, run_on_stream

if TYPE_CHECKING:
    from agents.registry import Models


@guarded
def fork(
    run: Annotated[
        str | None,
        typer.Argument(help="Run to leave, see `escape runs list`; of --carrier local its file.", show_default=False),
    ] = None,
    at_tick: Annotated[int | None, typer.Option(min=0, help="Leave it at the cut before this tick.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the menu, from the fork's first tick; repeatable.")
    ] = None,
    carrier: Annotated[
        str, typer.Option(help="kafka (the stream), or local: the file of `escape export`, in one process.")
    ] = "kafka",
    list_: Annotated[bool, typer.Option("--list", help="Print the menu of what can be changed.")] = False,
    pace: Annotated[int, typer.Option(min=0, max=10_000, help="Speed against real time; 0 = unbounded.")] = 0,
    no_store: Annotated[bool, typer.Option("--no-store", help="The log only: no ClickHouse, no projection.")] = False,
    trust: Trust = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Start a run from another one's state at a cut, with something changed. All that came before is shared.

    What can be changed: income_tax, policy_rate, government_spending, government_demand, supply.<product>,
    silent.<agents>, strategy.<agents>, pin.<agents>, band.<instrument>, breaker.<instrument>, and delay, blank or
    distort.<figures>.<agents>; --list has their values.
    """
    if list_:
        _print_menu(json_)
        return
    if run is None or at_tick is None:
        raise InputError("RUN --at-tick", None, "name the run and the tick to leave it at; --list prints the menu")
    from infra.stored import wait_until_stored
    from runs.forking import changes_of, prepare_fork

    if carrier not in CARRIERS:
        raise InputError("carrier", carrier, f"use {' or '.join(CARRIERS)}")
    if carrier == "local":
        _fork_file(run, at_tick, set_ or [], models_of(settings(state, namespace), trust), json_)
        return
    number = _number(run)
    chosen = settings(state, namespace)
    models = models_of(chosen, trust)
    changes = changes_of([pair(text) for text in set_ or []])
    with using_stack(chosen, store=not no_store) as stack:
        with tracked("going to the cut", "epochs") as advance:
            spec = prepare_fork(
                stack.bootstrap, stack.namespace, number, at_tick, changes, chosen.state_folder,
                chosen.checkpoint_every, advance, models,
            )  # fmt: skip
        result = run_on_stream(spec, f"fork of {number}", chosen, stack, pace, models)
        wait_until_stored(stack, result.run)
    told = {**result.to_json(), "parent": spec.parent, "parent_epoch": spec.parent_epoch}
    tell(told, json_)


def _number(run: str) -> int:
    if not run.isdecimal():
        raise InputError("RUN", run, "give the number of a run, or --carrier local with the file of an exported one")
    return int(run)


def _fork_file(run: str, at_tick: int, set_: list[str], models: Models, json_: bool) -> None:
    from runs.container import Container
    from runs.forking import changes_of
    from runs.localfork import fork_file

    if run.isdecimal():
        said = (
            f"a fork on the local carrier leaves a file, since no log is there: `escape export {run} FILE.avro` first"
        )
        raise InputError("RUN", run, f"{said}. A run on the local carrier keeps nothing: run it with --carrier kafka")
    changes = changes_of([pair(text) for text in set_])
    with tracked("running", "epochs") as advance:
        fork = fork_file(Container(Path(run)), at_tick, changes, models, advance)
    told = {**fork.result.to_json(), "parent": fork.parent, "parent_epoch": fork.parent_epoch}
    tell(told, json_)


def _print_menu(json_: bool) -> None:
    from agents.interventions import GROUPS, MENU
    from agents.strategies import OPTIONS

    if json_:
        emit([entry.__dict__ for entry in MENU])
        return
    table = Table("key", "values", "what")
    for entry in MENU:
        table.add_row(entry.key, entry.values, entry.what)
    out.print(table)
    options = Table("role", "strategy", "what")
    for option in OPTIONS:
        options.add_row(option.role.name.lower(), option.name, option.what)
    out.print(options)
    out.print(f"<agents> is {', '.join(GROUPS)}, or a list such as 40,60-75; <figures> is prices or statistics;")
    out.print("<instrument> is its symbol, or shares for all shares.")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(fork)

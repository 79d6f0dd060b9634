"""escape compare, sweep: what a change does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from economy.errors import InputError
from infra.cli.common import (
    Json,
    Namespace,
    State,
    Trust,
    emit,
    err,
    guarded,
    models_of,
    settings,
    shown,
    telling,
    tracked,
    using_stack,
)
from infra.cli.run import pair


@guarded
def compare(
    a: Annotated[int, typer.Argument(help="Run to start from.")],
    b: Annotated[int, typer.Argument(help="Run that differs, such as a fork of it.")],
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures to this file; - is stdout.")] = None,
    trust: Trust = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Compare two runs: GDP, Gini, prices, who gained and lost, the first event that differs."""
    from runs.compare import compare_runs, render

    to = telling(html)
    chosen = settings(state, namespace)
    models = models_of(chosen, trust)
    with (
        using_stack(chosen, store=False) as stack,
        tracked("reading both runs", "epochs") as advance,
    ):
        found = compare_runs(
            stack.bootstrap, stack.namespace, a, b,
            advance, models,
        )  # fmt: skip
    if html is not None:
        from runs.compare_page import write_page

        err.print(f"page: {shown(write_page(found, html))}", markup=False, highlight=False, soft_wrap=True)
    if json_:
        emit(found.to_json(), to)
    else:
        print(render(found), file=to)


@guarded
def sweep(
    scenario: Annotated[str, typer.Argument(help="Scenario: village, or the path of a TOML file.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=a,b,c of the scenario; all combinations are run.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Number of seeds, from 1.")] = 20,
    json_: Json = False,
) -> None:
    """Run a scenario for many values and seeds on Ray, in memory; means with 95 % confidence intervals."""
    from infra.stack import prepare
    from runs.sweep import CONFIDENCE, to_json
    from runs.sweep import sweep as swept

    chosen = settings()
    values = {key: text.split(",") for key, text in (pair(each) for each in set_ or [])}
    if any(not value for found in values.values() for value in found):
        raise InputError("--set", set_, "write key=a,b,c without empty values")
    numbers = list(range(1, seeds + 1))
    logs = prepare(chosen) / "logs" / "sweep"  # beside that of a run which may go on meanwhile
    logs.mkdir(exist_ok=True)
    with tracked("runs") as advance:
        cells = swept(
            scenario, values, numbers, logs, chosen.ray_address, os.cpu_count() or 2,
            advance,
        )  # fmt: skip
    if json_:
        emit(to_json(cells, numbers))
        return
    print(f"means over {seeds} seeds with {CONFIDENCE:.0%} confidence; differences to the first are paired by seed")
    for cell in cells:
        print("\n" + (", ".join(f"{key} = {value}" for key, value in cell.values.items()) or "as it is"))
        for name in cell.outcomes[0]:
            told = _estimate(*cell.estimate(name))
            if cell is not cells[0]:
                told += f"   difference {_estimate(*cell.estimate(name, cells[0]))}"
            print(f"    {name:<18}{told}")


def _estimate(mean: float, half: float) -> str:
    return f"{mean:>14,.5g} ± {half:<10,.2g}"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (compare, sweep):
        app.command()(command)

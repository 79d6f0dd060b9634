"""escape verify, replay, show: the log of a run as its own proof, and the run as it stood."""

from __future__ import annotations

from typing import Annotated

import typer

from economy.errors import ProtocolError
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
    tell,
    tracked,
    using_stack,
)

RunId = Annotated[int, typer.Argument(help="Run id, see `escape runs list`.")]
_SHOWN = 20  # findings that people are shown; --json has all


@guarded
def verify(
    run: RunId,
    expect: Annotated[str, typer.Option(help="Root that was printed when the run ended.")] = "",
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Check that a run's log is whole: no record changed, missing, foreign or reordered. Exit code 4 where one is."""
    from runs.verify import verify_run

    with using_stack(settings(state, namespace), store=False) as stack, tracked("verifying", "records") as advance:
        verdict = verify_run(
            stack.bootstrap, stack.namespace, run, expect,
            advance,
        )  # fmt: skip
    told = verdict.to_json()
    if not json_:
        for finding in verdict.findings[:_SHOWN]:
            err.print(str(finding), style="red", markup=False, highlight=False, soft_wrap=True)
        told["findings"] = len(verdict.findings)
    tell(told, json_)
    if not verdict.sound:
        first = f"the first of {len(verdict.findings)} faults is {verdict.findings[0]}"
        raise ProtocolError(f"the log of run {run} is damaged", first)


@guarded
def replay(
    run: RunId,
    until_tick: Annotated[int | None, typer.Option(min=0, help="Stop at the cut before this tick.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Exit with code 4 where anything diverges.")] = False,
    trust: Trust = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Prove a run from its log: integrity, state and re-execution, each up to the first divergence."""
    from runs.beside import Job

    chosen = settings(state, namespace)
    with Job() as job:  # its process starts while this one imports
        from runs.replay import replay as replayed

        with using_stack(chosen, store=False) as stack, tracked("replaying", "records") as advance:
            found = replayed(
                stack.bootstrap, stack.namespace, run, until_tick,
                advance, job, models_of(chosen, trust),
            )  # fmt: skip
    if json_:
        emit(found.to_json())
    else:
        for name, answer in found.answers.items():
            print(f"{name:18s} {answer}")
    if verify and not found.proven:
        name, answer = next(each for each in found.answers.items() if each[1].status == "diverged")
        raise ProtocolError(f"run {run} is not proven by its {name}: it is identical through epoch {answer.through}",
                            answer.reason)  # fmt: skip


@guarded
def show(
    run: RunId,
    at_tick: Annotated[int | None, typer.Option(min=0, help="The cut before this tick.", show_default="newest")] = None,
    provenance: Annotated[
        bool,
        typer.Option("--provenance", help="Where the run comes from: code, lock, scenario, seed, schemas, parent."),
    ] = False,
    trust: Trust = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Show balances, books and contracts as they stood at a cut, or where a run comes from."""
    from runs import show as shown
    from runs.checkpoint import Checkpoints, world_at
    from runs.protocol import cut_at
    from runs.settings import CREDIT
    from schemas.log.history import read_history

    chosen = settings(state, namespace)
    models = models_of(chosen, trust)
    with using_stack(chosen, store=False) as stack:
        segments = read_history(stack.bootstrap, stack.namespace, run)
        own = segments[-1]
        if provenance:
            told = shown.provenance(segments, models)
            tell(told, json_)
            return
        shown.check_cuts(own)
        ticks = own.started["epoch_ticks"]
        newest = own.last if own.clock.finished else max(-1, own.clock.granted - CREDIT - 1)
        tick = (newest + 1) * ticks if at_tick is None else at_tick
        epoch = cut_at(tick, ticks, own.last)
        kept = Checkpoints.of(chosen.state_folder, stack.namespace, own.started, chosen.checkpoint_every)
        with tracked("reading the log", "epochs") as advance:
            world, founded = world_at(
                stack.bootstrap, stack.namespace, segments, epoch, kept,
                advance, models,
            )  # fmt: skip
    if json_:
        emit(shown.world_json(world, founded, run, tick))
    else:
        print(shown.render(world, founded, run, tick))


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (verify, replay, show):
        app.command()(command)

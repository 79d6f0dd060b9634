"""escape runs, watch, pause, resume, stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

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
    progress,
    settings,
    tell,
    using_stack,
)

if TYPE_CHECKING:
    from infra.stack import Attached, Stack
    from runs.log import RunInfo

RunId = Annotated[int, typer.Argument(help="Run id, see `escape runs list`.")]
runs_app = typer.Typer(help="The runs on the log.", no_args_is_help=True)
_WATCH_SECONDS = 0.5


@runs_app.command("list")
@guarded
def runs_list(state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """List the runs on the log."""
    from runs.log import list_runs

    with using_stack(settings(state, namespace), store=False) as stack:
        found = list_runs(stack.bootstrap, stack.namespace)
    if json_:
        emit([info.to_json() for info in found])
        return
    table = Table("run", "parent", "scenario", "seed", "state", "epochs", "digest")
    for info in found:
        epochs = f"{info.granted + 1}/{info.last_epoch + 1}"
        parent = str(info.started["parent"] or "")
        table.add_row(str(info.run), parent, info.scenario, str(info.seed), info.state, epochs, info.digest)
    out.print(table)


@runs_app.command("show")
@guarded
def runs_show(run: RunId, state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Show one run."""
    from runs.log import find_run

    with using_stack(settings(state, namespace), store=False) as stack:
        told: dict[str, Any] = find_run(stack.bootstrap, stack.namespace, run).to_json()
    tell(told, json_)


@runs_app.command("delete")
@guarded
def runs_delete(run: RunId, state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Delete a run that has ended: its tables at once, its records when no older run needs their place on the log."""
    from infra.removal import delete_run

    with using_stack(settings(state, namespace)) as stack:
        told = delete_run(stack.bootstrap, stack.namespace, run, stack.tables)
    tell(told, json_)


@guarded
def watch(run: RunId, state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Follow a run until it ends. With --json one document at the end."""
    from infra.stack import Stack
    from runs.log import find_run

    with using_stack(settings(state, namespace), store=False) as stack, progress() as bar:
        info = find_run(stack.bootstrap, stack.namespace, run)
        task = bar.add_task(info.scenario, total=info.last_epoch + 1, detail="")
        # Nothing goes on in a stack that was started for this command alone: what the log says is all there is.
        while info.going_on and not isinstance(stack, Stack):
            tick = (info.granted + 1) * info.epoch_ticks
            bar.update(task, completed=info.granted + 1, detail=f"{info.state}, tick {tick:,}")
            time.sleep(_WATCH_SECONDS)
            info = find_run(stack.bootstrap, stack.namespace, run)
    tell(info.to_json(), json_)


@guarded
def pause(run: RunId, state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Let a run stand still after the epochs that are granted."""
    from runs.control import control

    with using_stack(settings(state, namespace), store=False) as stack:
        _going_on(stack, run, "paused")
        control(stack.bootstrap, stack.namespace, run, pause=True)
    tell({"run": run, "state": "paused"}, json_)


def _going_on(stack: Stack | Attached, run: int, done: str) -> RunInfo:
    """A run that has not ended. Raises InputError for one that has: it cannot be `done`."""
    from runs.log import find_run

    info = find_run(stack.bootstrap, stack.namespace, run)
    if not info.going_on:
        raise InputError("run", run, f"it is {info.state}: only an open or paused run can be {done}")
    return info


@guarded
def resume(
    run: RunId, trust: Trust = None, state: State = None, namespace: Namespace = None, json_: Json = False
) -> None:
    """Let a paused run go on; carry on with one whose processes have died.

    In a running stack a paused run goes on in its own processes, and this command does not wait for it. If they have
    died, the run is open from then on: give the command once more.
    """
    from agents.registry import model_name
    from infra.cli.run import run_on_stream
    from infra.stack import Stack
    from infra.stored import wait_until_stored
    from runs.control import control
    from runs.protocol import RunSpec

    chosen = settings(state, namespace)
    models = models_of(chosen, trust)
    with using_stack(chosen) as stack:
        info = _going_on(stack, run, "resumed")
        model = model_name(info.started)
        if not model:
            raise InputError("run", run, f"a tape does not go on: `escape stop {run}`, then send it again")
        models.check(model)
        if info.state == "paused":
            control(stack.bootstrap, stack.namespace, run, pause=False)
            if not isinstance(stack, Stack):
                tell({"run": run, "state": "open"}, json_)
                return
        s = info.started
        spec = RunSpec(
            run, model, s["scenario"], info.seed, s["shards"], s["partitions"],
            s["flow_partitions"], s["rules_version"],
        )  # fmt: skip
        told = run_on_stream(spec, info.scenario, chosen, stack, models=models).to_json()
        wait_until_stored(stack, run)
    tell(told, json_)


@guarded
def stop(run: RunId, state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """End a run before its time: RunAborted on the log."""
    from runs.control import abort_run

    with using_stack(settings(state, namespace), store=False) as stack:
        _going_on(stack, run, "stopped")
        abort_run(stack.bootstrap, stack.namespace, run, "stopped by `escape stop`")
    tell({"run": run, "state": "aborted"}, json_)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(runs_app, name="runs")
    for command in (watch, pause, resume, stop):
        app.command()(command)

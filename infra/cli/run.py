"""escape run, runs, pause, resume, stop."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from agents.actor import start_ray
from agents.model import Model
from economy.errors import InputError
from infra.cli.common import Json, Namespace, State, emit, err, guarded, progress, settings
from infra.settings import Settings
from infra.stack import use_stack
from runs.kafka import Progress, StreamRun, abort_run, control
from runs.local import RunResult, run_local
from runs.log import find_run, list_runs
from runs.protocol import RunSpec, new_run_id

Run = Annotated[int, typer.Argument(help="Run id, see `escape runs list`.")]
runs_app = typer.Typer(help="The runs on the log.", no_args_is_help=True)


def run_on_stream(
    model: Model, factory: str, chosen: Settings, bootstrap: str, namespace: str, logs: Path
) -> RunResult:
    """Run a model on the stream with a progress bar; Ctrl-C leaves RunAborted on the log."""
    parts = chosen.shards, chosen.partitions, chosen.flow_partitions
    spec = RunSpec(new_run_id(), factory, model.scenario_json(), model.seed, *parts)
    # Ray's socket paths must be short, so its folder is not below the state folder.
    with tempfile.TemporaryDirectory(prefix="escape-ray-", ignore_cleanup_errors=True) as folder, progress() as bar:
        task = bar.add_task(model.name, total=None, detail="starting the agents")
        start_ray(chosen.ray_address, folder)
        import ray

        try:
            stream = StreamRun(bootstrap, namespace, spec, logs)

            def show(p: Progress) -> None:
                detail = (
                    f"tick {(p.epoch + 1) * p.epoch_ticks:,}, {p.orders:,} orders, {p.trades:,} trades, "
                    f"{round(p.orders / p.seconds):,} orders/s"
                )
                bar.update(task, total=p.last_epoch + 1, completed=p.epoch + 1, detail=detail)

            try:
                return stream.wait(show)
            except KeyboardInterrupt:
                stream.abort("interrupted by Ctrl-C")
                raise
        finally:
            ray.shutdown()


def run_here(model: Model) -> RunResult:
    """Run a model in this process with a progress bar."""
    with progress() as bar:
        task = bar.add_task(model.name, total=model.last_epoch + 1, detail="")
        return run_local(model, new_run_id(), on_epoch=lambda epoch, _: bar.update(task, completed=epoch + 1))


def make_run_command(models: dict[str, tuple[str, Callable[..., Model]]]) -> Callable[..., None]:
    """`escape run SCENARIO` over the known scenarios: name -> (factory, loader(seed, overrides))."""

    @guarded
    def run(
        scenario: Annotated[str, typer.Argument(help=f"Scenario: {', '.join(models)}.")],
        seed: Annotated[int, typer.Option(min=0, help="Seed of every random number.")] = 1,
        carrier: Annotated[str, typer.Option(help="kafka (the stream) or local (one process).")] = "kafka",
        shards: Annotated[int | None, typer.Option(min=1, help="Agent shards.", show_default="settings")] = None,
        set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the scenario.")] = None,
        state: State = None,
        namespace: Namespace = None,
        json_: Json = False,
    ) -> None:
        """Run a simulated economy."""
        if scenario not in models:
            raise InputError("scenario", scenario, f"known are {', '.join(models)}")
        if carrier not in ("kafka", "local"):
            raise InputError("carrier", carrier, "use kafka or local")
        overrides = dict(_pair(text) for text in set_ or [])
        factory, load = models[scenario]
        model = load(seed, overrides)
        chosen = settings(state, namespace, shards=shards)
        if carrier == "local":
            result = run_here(model)
        else:
            with use_stack(chosen) as stack:
                result = run_on_stream(model, factory, chosen, stack.bootstrap, stack.namespace, stack.logs)
        show_result(result, json_)

    return run


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError("--set", text, "write key=value")
    return key, value


def show_result(result: RunResult, json_: bool) -> None:
    """Print what a run gave."""
    told = result.to_json()
    if json_:
        emit(told)
    else:
        for key, value in told.items():
            print(f"{key:18s} {value}")


@runs_app.command("list")
@guarded
def runs_list(state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """List the runs on the log."""
    with use_stack(settings(state, namespace)) as stack:
        found = list_runs(stack.bootstrap, stack.namespace)
    if json_:
        emit([info.to_json() for info in found])
        return
    table = Table("run", "scenario", "seed", "state", "epochs", "digest")
    for info in found:
        table.add_row(
            str(info.run), info.scenario, str(info.seed), info.state, f"{info.granted + 1}/{info.last_epoch + 1}",
            info.digest,
        )  # fmt: skip
    err.print(table)


@runs_app.command("show")
@guarded
def runs_show(run: Run, state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Show one run."""
    with use_stack(settings(state, namespace)) as stack:
        told: dict[str, Any] = find_run(stack.bootstrap, stack.namespace, run).to_json()
    if json_:
        emit(told)
    else:
        for key, value in told.items():
            print(f"{key:18s} {value}")


@guarded
def pause(run: Run, state: State = None, namespace: Namespace = None) -> None:
    """Let a run stand still after the epochs that are granted."""
    with use_stack(settings(state, namespace)) as stack:
        find_run(stack.bootstrap, stack.namespace, run)
        control(stack.bootstrap, stack.namespace, run, pause=True)


@guarded
def resume(run: Run, state: State = None, namespace: Namespace = None) -> None:
    """Let a paused run go on."""
    with use_stack(settings(state, namespace)) as stack:
        find_run(stack.bootstrap, stack.namespace, run)
        control(stack.bootstrap, stack.namespace, run, pause=False)


@guarded
def stop(run: Run, state: State = None, namespace: Namespace = None) -> None:
    """End a run before its time: RunAborted on the log."""
    with use_stack(settings(state, namespace)) as stack:
        find_run(stack.bootstrap, stack.namespace, run)
        abort_run(stack.bootstrap, stack.namespace, run, "stopped by `escape stop`")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(runs_app, name="runs")
    for command in (pause, resume, stop):
        app.command()(command)

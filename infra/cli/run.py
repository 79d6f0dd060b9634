"""escape run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from economy.errors import InputError
from infra.cli.common import Json, Namespace, State, guarded, models_of, notice, progress, settings, tell, using_stack
from infra.settings import Settings

if TYPE_CHECKING:
    from agents.model import Model
    from agents.registry import Models
    from infra.stack import Attached, Stack
    from runs.kafka import Progress
    from runs.local import RunResult
    from runs.protocol import RunSpec

CARRIERS = ("kafka", "local")


def village(scenario: str, seed: int, overrides: dict[str, str]) -> Model:
    """The model of a scenario: a name of economy/scenarios or the path of a file."""
    from agents.village import VillageModel
    from economy.scenario import load_scenario

    model = VillageModel(load_scenario(scenario, overrides), seed)
    model.instruments()  # solves the opening: parameters that have no steady state are told before anything is started
    return model


def specify(model: Model, chosen: Settings) -> RunSpec:
    """A new run of the model, spread as the settings say."""
    from agents.registry import VILLAGE
    from runs.protocol import RunSpec, new_run_id

    parts = chosen.shards, chosen.partitions, chosen.flow_partitions
    return RunSpec(new_run_id(), VILLAGE, model.scenario_json(), model.seed, *parts)


def run_on_stream(
    spec: RunSpec, name: str, chosen: Settings, stack: Stack | Attached, pace: int = 0, models: Models | None = None
) -> RunResult:
    """Run on the stream with a progress bar, or go on with a run; Ctrl-C leaves RunAborted on the log."""
    from infra.supervisor import Registry, descendants
    from runs.control import INTERRUPTED
    from runs.kafka import StreamRun
    from runs.rayhost import RayHost
    from telemetry.logs import LogOptions

    with progress() as bar:
        task = bar.add_task(name, total=None, detail="starting the agents")
        registry, recorded = Registry(stack.folder), 0
        with RayHost(chosen.ray_address, stack.logs) as host:
            stream = StreamRun(
                stack.bootstrap, stack.namespace, spec, stack.logs, host, pace=pace, tell=notice,
                models=models or models_of(chosen), compress=chosen.compress,
                logged=LogOptions("run", format=chosen.log_format, level=chosen.log_level),
            )  # fmt: skip

            def show(p: Progress) -> None:
                nonlocal recorded
                if recorded != host.generation:  # some of Ray's processes outlive a killed command line for a while
                    registry.add_all([("ray", pid) for pid in descendants()])
                    recorded = host.generation
                detail = (
                    f"{simulated(spec, p)}, {p.orders:,} orders, {p.trades:,} trades, "
                    f"{round(p.orders / p.seconds):,} orders/s"
                )
                bar.update(task, total=p.last_epoch + 1, completed=p.epoch + 1, detail=detail)

            try:
                return stream.wait(show, watch=stack.check)
            except KeyboardInterrupt:
                bar.update(task, detail="stopping")
                stream.abort(INTERRUPTED)
                raise


def simulated(spec: RunSpec, p: Progress) -> str:
    """The simulated date: year and quarter from 1, and the tick; of another model than the village the tick alone."""
    from agents.registry import VILLAGE
    from economy.calendar import QUARTERS
    from economy.scenario import scenario_from_json

    tick = (p.epoch + 1) * p.epoch_ticks
    if spec.model != VILLAGE:
        return f"tick {tick:,}"
    window = scenario_from_json(spec.scenario).time.window_of(max(0, tick - 1))
    return f"year {window // QUARTERS + 1} quarter {window % QUARTERS + 1}, tick {tick:,}"


def run_here(model: Model) -> RunResult:
    """Run a model in this process with a progress bar."""
    from runs.local import run_local
    from runs.protocol import new_run_id

    with progress() as bar:
        task = bar.add_task(model.name, total=model.last_epoch + 1, detail="")
        return run_local(model, new_run_id(), on_epoch=lambda epoch, _: bar.update(task, completed=epoch + 1))


@guarded
def run(
    scenario: Annotated[str, typer.Argument(help="Scenario: village, or the path of a TOML file.")],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every random number.")] = 1,
    carrier: Annotated[str, typer.Option(help="kafka (the stream) or local (one process).")] = "kafka",
    shards: Annotated[int | None, typer.Option(min=1, help="Agent shards.", show_default="settings")] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Order partitions; fixed per namespace.", show_default="settings")
    ] = None,
    pace: Annotated[int, typer.Option(min=0, max=10_000, help="Speed against real time; 0 = unbounded.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the scenario; may be repeated.")] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="The log only: no ClickHouse, no projection.")] = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Run a simulated economy."""
    from infra.stored import wait_until_stored

    if carrier not in CARRIERS:
        raise InputError("carrier", carrier, f"use {' or '.join(CARRIERS)}")
    chosen = settings(state, namespace, shards=shards, partitions=partitions)
    model = village(scenario, seed, dict(pair(text) for text in set_ or []))
    if carrier == "local":
        result = run_here(model)
    else:
        with using_stack(chosen, store=not no_store) as stack:
            result = run_on_stream(specify(model, chosen), model.name, chosen, stack, pace)
            wait_until_stored(stack, result.run)
    told = result.to_json()
    tell(told, json_)


def pair(text: str) -> tuple[str, str]:
    """Key and value of a --set option. Raises InputError for one without `=`."""
    key, separator, value = text.partition("=")
    if not separator:
        raise InputError("--set", text, "write key=value")
    return key, value


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)

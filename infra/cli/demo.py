"""escape demo."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from economy.measures import MEASURE
from economy.numbers.decimals import RAW, beside
from infra.cli.common import Json, Namespace, State, emit, err, guarded, out, progress, settings, using_stack
from infra.cli.data import report_of
from infra.cli.ingest import ingest_bitstamp
from infra.cli.run import run_on_stream, specify, village
from infra.cli.serve import serve_stack
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.demo import BackgroundSpark, Year
    from infra.stack import Attached, Stack
    from jobs.main import Figure


def _play(chosen: Settings, stack: Stack | Attached, years: int, seed: int) -> dict[str, Any]:
    """Tape, village, batch jobs, report; returns what the summary tells."""
    from infra import demo as parts
    from infra.spark import job_config
    from infra.stored import wait_until_stored

    tape = ingest_bitstamp(chosen, stack)
    err.print(f"tape: {tape['matched']} of the exchange's {tape['prints']} trades reproduced", highlight=False)
    model = village("village", seed, {"years": str(years)})
    with parts.BackgroundSpark(job_config(chosen, stack, small=years <= 20)) as spark:
        result = run_on_stream(specify(model, chosen), model.name, chosen, stack)
        with err.status("waiting until the run is in the tables"):
            wait_until_stored(stack, tape["run"])
            wait_until_stored(stack, result.run)
        figures = _batch(spark, result.run)
    stream = parts.stream_figures(stack, result.run)
    agreed = parts.compare(stream, figures)
    with err.status("writing the report"):
        reports = [str(report_of(stack, run)) for run in (result.run, tape["run"])]
    return {
        "tape": tape,
        "run": result.to_json(),
        "figures_equal": agreed,
        "years": parts.years_of(stream),
        "gdp": _last_quarter(stream, figures),
        "reports": reports,
    }


def _batch(spark: BackgroundSpark, run: int) -> list[Figure]:
    with progress() as bar:
        task = bar.add_task("Spark", total=None, detail="")
        return spark.run(run, lambda what, done, of: bar.update(task, detail=what, completed=done, total=of))


def _last_quarter(stream: dict[tuple[int, str, int], int], batch: list[Figure]) -> list[dict[str, Any]]:
    """The newest window's main figures, by stream and by batch."""
    last = max(figure.window for figure in batch)
    return [
        {
            "indicator": f.indicator,
            **beside("stream", stream[f.window, f.indicator, f.item], MEASURE[f.indicator].scale),
            **beside("batch", f.value, MEASURE[f.indicator].scale),
        }
        for f in batch
        if f.window == last and f.indicator.startswith(("gdp_", "gini_"))
    ]


def _both(figures: Sequence[Mapping[str, str]]) -> Table:
    """The main figures for people, in the currency and as shares."""
    table = Table("last quarter")
    for head in ("by the stream", "by the batch job"):
        table.add_column(head, overflow="fold", justify="right")
    table.add_column()
    for row in figures:
        stream, batch = (MEASURE[row["indicator"]].text(int(row[f"{by}{RAW}"])) for by in ("stream", "batch"))
        table.add_row(row["indicator"], stream, batch, "equal" if row["stream"] == row["batch"] else "NOT")
    return table


def _show(told: dict[str, Any], seconds: float) -> None:
    """The summary, on stdout."""
    from runs.report import money

    table = Table(box=box.SIMPLE)
    for head in ("year", "GDP by production", "by expenditure", "by income", "Gini income", "wealth", "jobless"):
        table.add_column(head, overflow="fold", justify="right")  # never cut a figure
    years: list[Year] = told["years"]
    for y in years:
        gdp = [money(value) for value in y.gdp.values()]
        shares = [f"{y.gini_income / 1e9:.3f}", f"{y.gini_wealth / 1e9:.3f}", f"{y.unemployment / 1e7:.1f} %"]
        table.add_row(str(y.year), *gdp, *shares)
    out.print(table)
    out.print(_both(told["gdp"]))
    run, tape = told["run"], told["tape"]
    out.print(f"stream and batch agree in all {told['figures_equal']:,} figures")
    out.print(f"tape     {tape['matched']} of {tape['prints']} trades of the exchange reproduced, run {tape['run']}")
    for difference in tape["differences"]:
        out.print(f"         print {difference['print']}: {difference['reason']}")
    out.print(f"village  {run['ticks']:,} ticks, {run['orders']:,} orders, {run['trades']:,} trades, run {run['run']}")
    out.print(f"speed    {run['orders_per_second']:,} orders/s with all decisions, {seconds:.0f} s for everything")
    out.print(f"digest   {run['digest']}")
    for path in told["reports"]:
        out.print(f"report   {path}", soft_wrap=True)


@guarded
def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="End after the summary instead of serving.")] = False,
    years: Annotated[int, typer.Option(min=1, max=100, help="Simulated years.")] = 10,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every random number.")] = 1,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Everything once: a real tape, a simulated economy, batch jobs, a report, then GraphQL until Ctrl-C."""
    began = time.monotonic()
    chosen = settings(state, namespace)
    with using_stack(chosen) as stack:
        told = _play(chosen, stack, years, seed)
        if json_:
            emit({**told, "years": [year.to_json() for year in told["years"]]})
        else:
            _show(told, time.monotonic() - began)
        if not exit_:
            serve_stack(stack, chosen.api_port)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)

"""escape bench: measurements, each a program of its own (python -m bench.NAME)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.common import INTERRUPTED, Json, guarded

app = typer.Typer(name="bench", help="Measure how fast the parts are on this machine.", no_args_is_help=True)


def measured(name: str, *arguments: str) -> None:
    """Run `python -m bench.NAME`; its stdout and exit code are ours. Ends when it has stopped all that it started."""
    process = subprocess.Popen([sys.executable, "-m", f"bench.{name}", *arguments])
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # a Ctrl-C reached it as well; SIGTERM reached only us
            process.send_signal(signal.SIGTERM)
    raise typer.Exit(code if code >= 0 else INTERRUPTED)


@guarded
def graphql(
    events: Annotated[int, typer.Option(min=10_000, help="Events of the synthetic run.")] = 10_000_000,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 10.0,
    json_: Json = False,
) -> None:
    """GraphQL: requests a second and percentiles for a realistic mix and for queries that nobody asked before."""
    measured("graphql", "--events", str(events), "--seconds", str(seconds), *(["--json"] if json_ else []))


@guarded
def market(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION", help="kernel, preloaded, live, latency, epochs, scale or recovery; may be repeated."
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Interleaved rounds; 0 = 5, quick 1.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="Length of the live runs; 0 = 60, quick 8.")] = 0.0,
    quick: Annotated[bool, typer.Option("--quick", help="Four minutes instead of twenty.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the table into this file as well.")] = None,
    json_: Json = False,
) -> None:
    """The market: kernel, stream, epochs, scale and recovery beside their peers, against the targets."""
    arguments = ["--rounds", str(rounds), "--seconds", str(seconds)]
    arguments += [part for name in only or () for part in ("--only", name)]
    arguments += ["--markdown", str(markdown)] if markdown else []
    measured("market", *arguments, *(["--quick"] if quick else []), *(["--json"] if json_ else []))


@guarded
def spark(
    trades: Annotated[int, typer.Option(min=10_000, help="Trades of the larger run.")] = 10_000_000,
    json_: Json = False,
) -> None:
    """Spark: events a second for decoding, gdp and gini, on 1 and 2 cores, beside DuckDB and polars if installed."""
    measured("spark", "--trades", str(trades), *(["--json"] if json_ else []))


@guarded
def faults(
    only: Annotated[
        list[str] | None, typer.Option(metavar="PROCESS", help="Kill this one; may be repeated. Default: all.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each process is killed.")] = 1,
    markdown: Annotated[Path | None, typer.Option(help="Write the table into this file as well.")] = None,
    json_: Json = False,
) -> None:
    """Every process killed with -9 under a running village: what its death does, and how long until it works again."""
    told = ["--markdown", str(markdown)] if markdown else []
    told += [part for name in only or () for part in ("--only", name)]
    measured("faults", "--rounds", str(rounds), *told, *(["--json"] if json_ else []))


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(market)
    app.command()(graphql)
    app.command()(spark)
    app.command()(faults)
    root.add_typer(app)

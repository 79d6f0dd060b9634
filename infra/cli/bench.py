"""escape bench: measurements, each a program of its own (python -m bench.NAME)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import typer

from infra.cli.common import INTERRUPTED, guarded

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


# What a measurement can be told is declared by its program alone: everything behind the name goes there, --help too.
_PASSED: Final = {"allow_extra_args": True, "ignore_unknown_options": True}
MEASUREMENTS: Final = {
    "market": "The market: kernel, stream, epochs, scale and recovery beside their peers, against the targets.",
    "graphql": "GraphQL: requests a second and percentiles for a mix and for queries that nobody asked before.",
    "spark": "Spark: events a second for decoding, gdp and gini, beside DuckDB and polars if installed.",
    "faults": "Every process killed with -9: what its death does, and how long until it works again.",
}


def _passing(name: str) -> Callable[[typer.Context], None]:
    @guarded
    def passed(context: typer.Context) -> None:
        measured(name, *context.args)

    return passed


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, told in MEASUREMENTS.items():
        app.command(name, help=told, add_help_option=False, context_settings=dict(_PASSED))(_passing(name))
    root.add_typer(app)

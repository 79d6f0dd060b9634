"""escape bench: measurements, each a program of its own (python -m bench.NAME)."""

from __future__ import annotations

import signal
import subprocess
import sys
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


def register(root: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(graphql)
    root.add_typer(app)

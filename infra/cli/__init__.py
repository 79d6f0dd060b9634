"""The command line: `escape`."""

from __future__ import annotations

import typer

from infra.cli import data, ingest, run, stack

app = typer.Typer(
    name="escape",
    help="An economic simulation whose every order, trade and decision is an event on a log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (stack, run, ingest, data):
    module.register(app)


def main() -> None:
    """Entry point of the console script."""
    app()

"""The command line: `escape`. Exit codes: docs/exit-codes.md."""

from __future__ import annotations

import logging
import signal
from typing import NoReturn

import typer

from infra.cli import accounts, bench, data, demo, fork, ingest, job, proof, run, runs, serve, stack, study

app = typer.Typer(
    name="escape",
    help="An economic simulation whose every order, trade and decision is an event on a log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (stack, demo, run, runs, fork, study, proof, accounts, ingest, job, serve, data, bench):
    module.register(app)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the console script. SIGTERM and a closed terminal stop things in order, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries log of an error stands in our one line
    app()

"""What all commands share: settings from flags, machine output on stdout, progress and errors on stderr."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TextIO, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from economy.errors import EscapeError, SetupError
from infra.settings import Settings, load_settings

if TYPE_CHECKING:  # modules that load numba, Kafka or ClickHouse are imported by the commands that need them
    from agents.registry import Models
    from infra.stack import Attached, Stack

P = ParamSpec("P")
R = TypeVar("R")


def _open_streams() -> None:
    """Let what is printed go where a standard stream was closed (`>&-`); no file opened later takes its place."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(free)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  (as long as the process)


_open_streams()
# Files and pipes have no width: wide enough for every table.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True)
INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Machine output on stdout.")]
State = Annotated[Path | None, typer.Option(help="Folder of all state.", show_default="settings")]
Namespace = Annotated[str | None, typer.Option(help="Prefix of the topics.", show_default="settings")]


Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust", metavar="MODULE:FUNCTION", help="A further model whose code you trust; repeatable.",
        show_default="settings",
    ),
]  # fmt: skip


def settings(state: Path | None = None, namespace: str | None = None, **flags: Any) -> Settings:
    """Settings with the flags of a command on top."""
    return load_settings(state=state, namespace=namespace, **flags)


def models_of(chosen: Settings, trust: list[str] | None = None) -> Models:
    """The models that runs may name: the program's own, those of the settings, and those of --trust."""
    from agents.registry import Models

    return Models((*chosen.models, *(trust or ())))


@contextmanager
def using_stack(chosen: Settings, store: bool = True) -> Iterator[Stack | Attached]:
    """The running stack, or one of our own; `store` asks for ClickHouse as well."""
    from infra.stack import use_stack

    with err.status("starting the stack") as spinner, use_stack(chosen, store) as stack:
        spinner.stop()
        yield stack


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """One line for every error that a user can cause or meet, with its exit code; no traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            done = command(*args, **kwargs)
            sys.stdout.flush()
            return done
        except EscapeError as error:
            err.print(f"escape: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            err.print("escape: interrupted", style="yellow")
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _discard_output()
            full = SetupError(f"{error.filename or 'the output'} cannot be written: {error.strerror}", "make room")
            err.print(f"escape: {full}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(full.exit_code) from error

    return run


def _discard_output() -> None:
    """Let what standard output could not take go, else the interpreter tries once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    with suppress(ValueError):  # there is no descriptor, as in a test
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


def emit(data: Any, to: TextIO | None = None) -> None:
    """Machine output: one JSON document on stdout."""
    to = to or sys.stdout
    json.dump(data, to, indent=2, default=str)
    to.write("\n")
    to.flush()


def tell(told: dict[str, Any], json_: bool, to: TextIO | None = None) -> None:
    """What a command has done: one JSON document, or a line per field for people."""
    if json_:
        emit(told, to)
        return
    for key, value in told.items():
        print(f"{key:18s} {value}", file=to)


def telling(file: Path | None) -> TextIO:
    """Where a command tells what it has done that wrote a file: on stderr, where the file itself went to stdout."""
    from schemas.files import is_stdout

    return sys.stderr if file is not None and is_stdout(file) else sys.stdout


def shown(file: Path) -> str:
    """A file that was written, for people: its whole path, but `-` as it is."""
    from schemas.files import STDOUT

    return str(file) if file == STDOUT else str(file.absolute())


def notice(text: str) -> None:
    """A line on stderr of what has been mended and needs nobody."""
    err.print(f"escape: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def progress() -> Progress:
    """A progress display on stderr that leaves nothing behind."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )


@contextmanager
def tracked(description: str, detail: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar for one piece of work, moved by calling what it yields with (done, total)."""
    with progress() as bar:
        task = bar.add_task(description, total=None, detail=detail)
        yield lambda done, total: bar.update(task, completed=done, total=total)

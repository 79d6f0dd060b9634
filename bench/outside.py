"""Running the real `escape` in a process of its own, as a user does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from economy.errors import EscapeError
from schemas.files import is_stdout, writing

PATIENCE: Final = 240.0  # seconds for whatever would hang otherwise; on a loaded machine all takes its time
ESCAPE: Final = str(Path(sys.executable).with_name("escape"))


class StageError(EscapeError):
    """A command or process did not do what it was started for."""


def environment(**settings: str) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ESCAPE_")}
    return kept | {f"ESCAPE_{name.upper()}": value for name, value in settings.items()}


def escape(
    *arguments: str, cwd: Path | None = None, timeout: float = 3 * PATIENCE, **settings: str
) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    done = subprocess.run(
        [ESCAPE, *arguments], env=environment(**settings), cwd=cwd, capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def answer(*arguments: str, **settings: str) -> Any:
    """The JSON of a command. Raises StageError when it does not succeed."""
    code, out, err = escape(*arguments, cwd=None, timeout=3 * PATIENCE, **settings)
    if code:
        raise StageError(f"`escape {' '.join(arguments)}` ended with {code}: {err.strip()}")
    return json.loads(out)


def alive(pid: int) -> bool:
    """True for a process that runs (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], Any], trouble: Callable[[], str] = str, seconds: float = PATIENCE) -> Any:
    """What a condition gives once it gives something. Raises StageError with the trouble that there is."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        if why := trouble():
            raise StageError(why)
        if time.monotonic() > limit:
            raise StageError("it did not happen in time")
        time.sleep(0.05)
    return found


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two marks of a file, or with them at its end, or into a new file. Raises SetupError."""
    found = path.read_text(encoding="utf-8") if path.is_file() and not is_stdout(path) else ""
    if begin not in found or end not in found:
        found += begin + end
    before, rest = found.split(begin, 1)
    with writing(path) as file:
        file.write((before + begin + text + end + rest.split(end, 1)[1]).encode())

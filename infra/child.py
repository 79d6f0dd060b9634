"""What the embedded servers share as child processes: their end, and their last words."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from economy.errors import SetupError

_TAIL_BYTES: Final = 4096
_ERROR: Final = re.compile(r"ERROR|FATAL|Error|Exception")
_LONGEST: Final = 300  # characters of a log line in an error message


def end(process: subprocess.Popen[bytes] | None, timeout: float = 10.0) -> None:
    """SIGTERM, after `timeout` seconds SIGKILL. Returns when the process is gone, so its files are free."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ended_early(name: str, process: subprocess.Popen[bytes], *logs: Path) -> SetupError:
    """The error for a server that ended before it answered: its code, what its logs say last, and where they are."""
    words = next(filter(None, map(last_words, logs)), "")
    said = f": {words}" if words else ""
    return SetupError(
        f"{name} ended with code {process.returncode}{said}", f"see {' and '.join(str(log) for log in logs)}"
    )


def last_words(log: Path) -> str:
    """The last line of a log's end that names an error, else its last line with text; empty when there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").split("\n") if line.strip()]
    except OSError:
        return ""
    errors = [line for line in lines if _ERROR.search(line)]
    return next(reversed(errors or lines), "")[:_LONGEST]

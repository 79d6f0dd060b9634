"""Running the real `escape` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from schemas.log.clocklog import read_clock, read_clocks
from schemas.log.writer import LogWriter
from tests.processes import PATIENCE, until

ESCAPE = str(Path(sys.executable).with_name("escape"))


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
    """The JSON of a command that must succeed."""
    code, out, err = escape(*arguments, **settings)
    assert code == 0, err
    return json.loads(out)


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One line of error that holds the words, the exit code, no traceback, nothing on stdout."""
    assert result[0] == code, result
    assert result[1] == ""
    lines = result[2].strip().splitlines()
    assert len(lines) == 1, result[2]
    assert lines[0].startswith("escape: ")
    assert "Traceback" not in lines[0]
    for word in words:
        assert word in lines[0], lines[0]


def listening(processes: list[psutil.Process]) -> set[str]:
    """Addresses on which processes listen."""
    found = set()
    for process in processes:
        try:
            connections = process.net_connections("inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        # Java listens on an IPv4 address through an IPv6 socket, which is written ::ffff:127.0.0.1.
        found |= {c.laddr.ip.removeprefix("::ffff:") for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def alive(pid: int) -> bool:
    """True for a process that runs (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def going_on(bootstrap: str, namespace: str = "escape", epoch: int = 5) -> int:
    """Number of the one run that goes on, once it has got so far."""

    def found() -> int | None:
        clocks = read_clocks(bootstrap, namespace)
        return next((clock.run for clock in clocks if not clock.ended and clock.granted >= epoch), None)

    return int(until(found))


def hurry(bootstrap: str, namespace: str, run: int) -> None:
    """Let a run that was started slowly, to be met on its way, go on as fast as it can."""
    clock = read_clock(bootstrap, namespace, run)
    writer = LogWriter(bootstrap, namespace)
    writer.send_rows("PaceChanged", np.array([[run, clock.incarnation, 0]], np.int64), 0)
    writer.flush()

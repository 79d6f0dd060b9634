"""Running the real `escape` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ESCAPE = str(Path(sys.executable).with_name("escape"))


def environment(**settings: str) -> dict[str, str]:
    """The environment without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ESCAPE_")}
    return kept | {f"ESCAPE_{name.upper()}": value for name, value in settings.items()}


def escape(*arguments: str, cwd: Path | None = None, timeout: float = 280, **settings: str) -> tuple[int, str, str]:
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


def until(condition: Callable[[], Any], trouble: Callable[[], str] = str, seconds: float = 120.0) -> Any:
    """What a condition gives once it gives something; fails with the trouble that there is."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert not trouble(), trouble()
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)
    return found

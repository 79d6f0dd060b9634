"""The real `escape` in a process of its own, as tests ask it."""

from __future__ import annotations

import psutil

from bench.outside import ESCAPE, alive, answer, environment, escape
from bench.theatre import set_pace
from schemas.log.clocklog import read_clocks
from tests.processes import until

__all__ = [
    "ESCAPE", "alive", "answer", "environment", "escape", "going_on", "hurry", "listening", "refused", "until",
]  # fmt: skip


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


def going_on(bootstrap: str, namespace: str = "escape", epoch: int = 5) -> int:
    """Number of the one run that goes on, once it has got so far."""

    def found() -> int | None:
        clocks = read_clocks(bootstrap, namespace)
        return next((clock.run for clock in clocks if not clock.ended and clock.granted >= epoch), None)

    return int(until(found))


def hurry(bootstrap: str, namespace: str, run: int) -> None:
    """Let a run that was started slowly, to be met on its way, go on as fast as it can."""
    set_pace(bootstrap, namespace, run, 0)

"""Processes that tests start: none outlives its test, nothing of one stays open, and no wait is a measure of speed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

PATIENCE: Final = 240.0  # seconds for whatever would hang otherwise; on a loaded machine all takes its time


def until(condition: Callable[[], Any], trouble: Callable[[], str] = str, seconds: float = PATIENCE) -> Any:
    """What a condition gives once it gives something; fails with the trouble that there is."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert not trouble(), trouble()
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.05)
    return found


def put_away(process: subprocess.Popen[Any]) -> None:
    """End a process whatever it does, wait for it and close its pipes; nothing is done to one that has ended."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process for the length of a block, with subprocess.Popen's options."""
    process = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **options})
    try:
        yield process
    finally:
        put_away(process)

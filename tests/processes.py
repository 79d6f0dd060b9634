"""Processes that tests start: none outlives its test, nothing of one stays open, and no wait is a measure of speed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.outside import PATIENCE, until

__all__ = ["PATIENCE", "child", "kill", "put_away", "stopped", "until"]


def kill(pid: int) -> None:
    """End a process of somebody else with -9. A pid of 0 or below would mean this process's own group, or all."""
    assert pid > 1, pid
    os.kill(pid, signal.SIGKILL)


def put_away(process: subprocess.Popen[Any]) -> None:
    """End a process whatever it does, wait for it and close its pipes; nothing is done to one that has ended."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def stopped(process: subprocess.Popen[Any]) -> int:
    """Exit code of a process that ends when it is told to; one that does not is put away."""
    process.terminate()
    try:
        return process.wait(PATIENCE)
    finally:
        put_away(process)


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process for the length of a block, with subprocess.Popen's options."""
    process = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **options})
    try:
        yield process
    finally:
        put_away(process)

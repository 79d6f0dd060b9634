"""A worker process's life: how far its start is, and how it ends."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import psutil

log = logging.getLogger("escape.worker")


def stage(name: str) -> None:
    """Log how long after the process began a stage of its start was reached."""
    log.info("stage %s: %.0f ms", name, 1000 * (time.time() - psutil.Process().create_time()))


def end(error: BaseException) -> None:
    """Log and end the process at once: the supervisor restarts it from its snapshot."""
    log.critical("the worker ends: %r", error, exc_info=error)
    logging.shutdown()
    os._exit(3)


def check(done: Any) -> None:
    """Callback that ends the process when a send or a snapshot failed."""
    if not done.cancelled() and done.exception() is not None:
        end(done.exception())

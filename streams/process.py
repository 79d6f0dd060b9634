"""A worker process's life: how far its start is, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any, Final

import psutil

log = logging.getLogger("escape.worker")
_CONNECT_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 0.3


def stage(name: str) -> None:
    """Log how long after the process began a stage of its start was reached."""
    log.info("stage %s: %.0f ms", name, 1000 * (time.time() - psutil.Process().create_time()))


async def wait_for_broker(bootstrap: str, stopping: asyncio.Event) -> bool:
    """True when a broker takes connections, False when the end is asked for. One that starts again is no failure."""
    told = False
    while not stopping.is_set():
        for address in bootstrap.split(","):
            host, _, port = address.rpartition(":")
            try:
                _, writer = await asyncio.wait_for(
                    asyncio.open_connection(host.strip("[]"), int(port)), _CONNECT_SECONDS
                )
            except (OSError, TimeoutError):
                continue
            writer.close()
            return True
        if not told:
            log.warning("no broker answers at %s: waiting for it", bootstrap)
            told = True
        await asyncio.sleep(_AGAIN_SECONDS)
    return False


def end(error: BaseException) -> None:
    """Log and end the process at once: the supervisor restarts it from its snapshot."""
    log.critical("the worker ends: %r", error, exc_info=error)
    logging.shutdown()
    os._exit(3)


def check(done: Any) -> None:
    """Callback that ends the process when a send or a snapshot failed."""
    if not done.cancelled() and done.exception() is not None:
        end(done.exception())

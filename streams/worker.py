"""The Faust worker processes: `python -m streams.worker matching --bootstrap …`, or projection."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop
from aiokafka.errors import KafkaError

from economy.errors import InputError
from streams import membership
from streams.health import Watch
from streams.process import end, stage, wait_for_broker
from streams.settings import FaustSettings, MatchingSettings, ProjectionSettings
from telemetry.process import run_process

log = logging.getLogger("escape.worker")


def _stopping() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _run_matching(options: MatchingSettings) -> None:
    stopping = _stopping()
    from streams.matcher import MatchingWorker
    from streams.warmup import warm_up

    stage("imported")
    warm_up()
    stage("warmed up")
    worker = MatchingWorker(options)
    gc.collect()
    gc.freeze()  # what is loaded stays: to find that out again, a full collection would stop matching for 80 ms
    if not await wait_for_broker(options.bootstrap, stopping):
        return
    watch = Watch(options, worker.positions, end, worker.fault)
    watch.start()
    await worker.app.start()
    timer = asyncio.ensure_future(worker.snapshots_on_time())
    log.info("matching started")
    await _until(stopping, worker.app)
    watch.stop()
    asyncio.get_running_loop().call_later(8, os._exit, 0)  # a broker that is already gone must not hold the exit
    await worker.leave()
    timer.cancel()
    await worker.app.stop()


async def _run_projection(options: ProjectionSettings) -> None:
    stopping = _stopping()
    from streams.projection import ProjectionWorker

    worker = ProjectionWorker(options)
    if not await wait_for_broker(options.bootstrap, stopping):
        return
    watch = Watch(options, worker.positions, end, patient=True)  # a fold may take long
    watch.start()
    await worker.app.start()
    log.info("projection started")
    await _until(stopping, worker.app)
    watch.stop()
    asyncio.get_running_loop().call_later(8, os._exit, 0)
    await worker.app.stop()


async def _until(stopping: asyncio.Event, app: Any) -> None:
    """Return when a signal asks for the end. A crash of any service of the app ends the process."""
    asked = asyncio.ensure_future(stopping.wait())
    crashed = asyncio.ensure_future(app._crashed.wait())
    await asyncio.wait((asked, crashed), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        why = app.crash_reason or RuntimeError("a service of Faust crashed without a reason")
        end(membership.told("Faust has ended", why) if isinstance(why, KafkaError) else why)
    crashed.cancel()


def _serve(options: FaustSettings, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    os.makedirs(options.data, exist_ok=True)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # for the loop of Faust's own thread as well
    asyncio.run(body())


def _matching(arguments: list[str]) -> int:
    return run_process(MatchingSettings, lambda options: _serve(options, lambda: _run_matching(options)), arguments)


def _projection(arguments: list[str]) -> int:
    return run_process(ProjectionSettings, lambda options: _serve(options, lambda: _run_projection(options)), arguments)


_SERVICES: Final[dict[str, Callable[[list[str]], int]]] = {"matching": _matching, "projection": _projection}


def main(arguments: list[str]) -> int:
    """Run the service that the first argument names until a signal, or the crash of one of Faust's, ends it."""
    service = next(iter(arguments), "")
    if service not in _SERVICES:
        print(f"escape: {InputError('service', service, 'known are ' + ', '.join(_SERVICES))}", file=sys.stderr)
        return InputError.exit_code
    return _SERVICES[service](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

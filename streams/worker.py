"""The Faust worker process: `python -m streams.worker matching --bootstrap … --namespace … --partitions …`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

import uvloop

from streams.process import end, stage, wait_for_broker

log = logging.getLogger("escape.worker")


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT; a Faust service that crashed ends the process."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if options.service == "projection":
        await _run_projection(options, stopping)
    else:
        await _run_matching(options, stopping)


async def _run_matching(options: argparse.Namespace, stopping: asyncio.Event) -> None:
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
    await worker.app.start()
    timer = asyncio.ensure_future(worker.snapshots_on_time())
    log.info("matching started")
    await _until(stopping, worker.app)
    asyncio.get_running_loop().call_later(8, os._exit, 0)  # a broker that is already gone must not hold the exit
    await worker.leave()
    timer.cancel()
    await worker.app.stop()


async def _run_projection(options: argparse.Namespace, stopping: asyncio.Event) -> None:
    from streams.projection import ProjectionWorker

    worker = ProjectionWorker(options)
    if not await wait_for_broker(options.bootstrap, stopping):
        return
    await worker.app.start()
    log.info("projection started")
    await _until(stopping, worker.app)
    asyncio.get_running_loop().call_later(8, os._exit, 0)
    await worker.app.stop()


async def _until(stopping: asyncio.Event, app: Any) -> None:
    """Return when a signal asks for the end. A crash of any service of the app ends the process."""
    asked = asyncio.ensure_future(stopping.wait())
    crashed = asyncio.ensure_future(app._crashed.wait())
    await asyncio.wait((asked, crashed), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        end(app.crash_reason or RuntimeError("a service of Faust crashed without a reason"))
    crashed.cancel()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m streams.worker", description="Faust worker of EscapeCapitalism")
    parser.add_argument("service", choices=["matching", "projection"])
    parser.add_argument("--bootstrap", required=True, help="address of the broker")
    parser.add_argument("--namespace", default="escape", help="prefix of the topics")
    parser.add_argument("--partitions", type=int, default=1, help="order partitions of the namespace")
    parser.add_argument("--flow-partitions", type=int, default=1, help="flow partitions of the namespace")
    parser.add_argument("--data", default=".escape", help="folder for Faust's own files")
    parser.add_argument("--name", default="w0", help="name of this worker in its folder")
    parser.add_argument(
        "--session-timeout", type=float, default=3.0, help="seconds after which a dead worker is noticed"
    )
    options = parser.parse_args()
    os.makedirs(options.data, exist_ok=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # for the loop of Faust's own thread as well
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()

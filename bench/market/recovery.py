"""Recovery: the worker is killed with -9 under a live stream and started again at once.

Times count from the kill. `matching_s` is when the first record that was not on the log before is read, `caught_up_s`
when trades are again read within a tenth of a second of when their orders were due. The breakdown is the worker's own:
its log tells how long after its process began each stage of the start was reached.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.market.lab import PATIENCE, Worker, make_topics, new_namespace
from bench.market.live import WARM_SECONDS
from bench.market.wire import Meter, rows_in
from economy.errors import SetupError
from economy.records import events as e
from infra.broker import Broker
from schemas.catalogue import TRADES
from schemas.log.reader import end_offsets

_STAGE: Final = re.compile(r"stage ([a-z ]+): (\d+) ms")
_READ: Final = re.compile(r"partition (\d+): offset \d+, (\d+) records of input to replay, (\d+) of output to compare")
_LAG: Final = 0.1  # seconds


def stages(log: str) -> dict[str, int]:
    """Milliseconds after the start of its process at which a worker first reached each stage, from its log."""
    found: dict[str, int] = {}
    for name, ms in _STAGE.findall(log):
        found.setdefault(name, int(ms))
    return found


def measure(broker: Broker, folder: Path, rate: int, lead: float = 6.0) -> dict[str, Any]:
    """Kill the worker `lead` seconds after the warm-up of a live stream of `rate` orders a second."""
    return asyncio.run(_measure(broker, folder, rate, lead))


async def _measure(broker: Broker, folder: Path, rate: int, lead: float) -> dict[str, Any]:
    namespace = new_namespace()
    make_topics(broker.bootstrap, namespace)
    with Worker(broker.bootstrap, namespace, folder) as worker:
        worker.wait_restored()
        command = [sys.executable, "-m", "bench.market.generator", broker.bootstrap, namespace, str(rate)]
        generator = subprocess.Popen([*command, "60", "1"], stdout=subprocess.PIPE, text=True)
        try:
            return await _watch(broker, namespace, rate, lead, worker, generator, folder)
        finally:
            generator.kill()
            generator.wait()


async def _watch(
    broker: Broker, namespace: str, rate: int, lead: float, worker: Worker, generator: subprocess.Popen[str],
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    assert generator.stdout is not None
    start = json.loads(await asyncio.to_thread(generator.stdout.readline))
    log = folder / f"{namespace}-w0.log"
    killed = matching = 0.0
    end, before = 0, 0
    limit = time.monotonic() + PATIENCE
    async with Meter(broker.bootstrap, namespace) as meter:
        while time.monotonic() < limit:
            batches = await meter.take(20)
            now = time.time()
            if not killed and now - start["began"] > WARM_SECONDS + lead:
                before = len(log.read_text())
                worker.process.kill()
                worker.process.wait()
                killed = now
                place = (TRADES, 0)
                end = (await asyncio.to_thread(end_offsets, broker.bootstrap, namespace, [place]))[place]
                worker.start()
            for records in batches:
                trades = rows_in(records).get(e.TradeExecuted.name)
                if not killed or trades is None or records.next_offset <= end:
                    continue
                matching = matching or now - killed
                step = (int(trades[-1, e.TradeExecuted.TICK]) - start["first"]) // start["step"]
                if now - (start["began"] + step * (start["step"] / rate)) < _LAG:
                    text = log.read_text()[before:]
                    _, replayed, compared = next(iter(_READ.findall(text)))
                    return {
                        "rate": rate, "matching_s": round(matching, 2), "caught_up_s": round(now - killed, 2),
                        "stages_ms": stages(text), "input_replayed": int(replayed), "output_compared": int(compared),
                    }  # fmt: skip
            worker.check()
    raise SetupError(f"the worker did not catch up in {PATIENCE:.0f} s (matching {matching:.1f} s)", f"see {log}")

"""A load generator as a process: `python -m bench.market.generator BOOTSTRAP NAMESPACE RATE SECONDS [PARTITIONS]`.

Prints when its first step is due, then, at the end, how much it offered and how late it was at worst, in JSON lines.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bench.market.flow import LIMIT_CANCEL, Flow
from bench.market.preloaded import BOOKS
from bench.market.wire import Sender


def step_of(rate: int) -> int:
    """Messages of one step: those of 10 ms, at least one."""
    return max(1, rate // 100)


async def generate(bootstrap: str, namespace: str, rate: int, seconds: float, partitions: int) -> None:
    """Offer `rate` messages a second; the due time of message k does not depend on how the ones before went."""
    flow = Flow(LIMIT_CANCEL, BOOKS)
    step, total = step_of(rate), int(rate * seconds)
    async with Sender(bootstrap, namespace, partitions) as sender:
        await sender.open(flow.books)
        await sender.send(flow.opening(), 1)
        await sender.settled()
        began, first, late = time.time() + 0.5, flow.sent, 0.0
        print(json.dumps({"began": began, "first": first + 1, "step": step}), flush=True)
        while (done := flow.sent - first) < total:
            wait = began + done / rate - time.time()
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                late = max(late, -wait)
                await asyncio.sleep(0)
            at = flow.sent + 1
            await sender.send(flow.take(step), at)
        await sender.settled()
        offered = (flow.sent - first) / (time.time() - began)
        await sender.close_run()
    print(json.dumps({"offered": offered, "late_ms": 1000 * late, "messages": flow.sent - first}), flush=True)


if __name__ == "__main__":
    asyncio.run(generate(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))

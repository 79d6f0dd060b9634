"""Live: generator, broker, Faust worker, broker and consumer on one machine, one record per order.

The latency of a trade is counted from when its order was due, not from when a late generator sent it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.market.lab import PATIENCE, Worker, cpu, make_topics, new_namespace
from bench.market.wire import Meter, rows_in
from economy.errors import SetupError
from economy.records import events as e
from infra.broker import Broker

_BIN_MS: Final = 0.1
_BINS: Final = 100_000
WARM_SECONDS: Final = 5.0  # not counted: the broker's compiler is still at work
_WINDOW: Final = 5.0  # seconds


@dataclass
class Latencies:
    """Histograms of milliseconds, one per window of the measurement."""

    windows: dict[int, Any] = field(default_factory=dict)

    def add(self, now: float, since: float, due: Any) -> None:
        """Trades consumed at `now` whose orders were due at `due`, in a measurement that counts from `since`."""
        counted = due[due >= since]
        if not len(counted):
            return
        bins = np.clip((1000 / _BIN_MS * (now - counted)).astype(np.int64), 0, _BINS - 1)
        window = int((now - since) // _WINDOW)
        known = self.windows.setdefault(window, np.zeros(_BINS, np.int64))
        known += np.bincount(bins, minlength=_BINS)

    def quantile(self, q: float, windows: list[int] | None = None) -> float:
        """Milliseconds; of all windows, or of the named ones."""
        chosen = [self.windows[w] for w in (self.windows if windows is None else windows)]
        total = np.sum(chosen, axis=0).cumsum()
        return round(float(np.searchsorted(total, q * total[-1]) + 1) * _BIN_MS, 1)

    def growth(self) -> float:
        """How many milliseconds the median rose from the first to the last third of the windows."""
        known = sorted(self.windows)
        third = max(1, len(known) // 3)
        return self.quantile(0.5, known[-third:]) - self.quantile(0.5, known[:third])


@dataclass
class Live:
    """One live measurement."""

    rate: int
    p50: float
    p95: float
    p99: float
    growth_ms: float
    offered: float
    late_ms: float
    drain_s: float
    cpu_us: dict[str, float]  # per order, by process
    by_window: list[float]

    @property
    def held(self) -> bool:
        """Offered as asked, and the lag does not grow: the median of the last third, and the rest at the end."""
        return self.offered >= 0.99 * self.rate and self.growth_ms < 100 and self.drain_s < 1.0

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rate": self.rate, "p50_ms": self.p50, "p95_ms": self.p95, "p99_ms": self.p99, "held": self.held,
            "growth_ms": round(self.growth_ms, 1), "offered": round(self.offered), "late_ms": round(self.late_ms, 1),
            "drain_s": round(self.drain_s, 2), "cpu_us_per_order": {k: round(v, 3) for k, v in self.cpu_us.items()},
            "p50_by_window_ms": self.by_window,
        }  # fmt: skip


def measure(broker: Broker, folder: Path, rate: int, seconds: float, partitions: int = 1) -> Live:
    """Run the live chain for `seconds` after a warm-up."""
    return asyncio.run(_measure(broker, folder, rate, seconds, partitions))


async def _measure(broker: Broker, folder: Path, rate: int, seconds: float, partitions: int) -> Live:
    namespace = new_namespace()
    make_topics(broker.bootstrap, namespace, partitions)
    with Worker(broker.bootstrap, namespace, folder, partitions) as worker:
        worker.wait_restored(partitions)
        command = [
            sys.executable, "-m", "bench.market.generator", broker.bootstrap, namespace, str(rate),
            str(seconds + WARM_SECONDS), str(partitions),
        ]  # fmt: skip
        generator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            return await _watch(broker, namespace, rate, partitions, worker, generator)
        finally:
            if generator.poll() is None:
                generator.kill()
            generator.wait()


async def _watch(
    broker: Broker, namespace: str, rate: int, partitions: int, worker: Worker, generator: subprocess.Popen[str]
) -> Live:
    assert generator.stdout is not None
    loop = asyncio.get_running_loop()
    begun = asyncio.create_task(asyncio.to_thread(generator.stdout.readline))
    processes = {"broker": broker.process, "worker": worker.process, "generator": generator}
    latencies, ended, start = Latencies(), 0, None
    spent: dict[str, float] = {}
    used: dict[str, float] = {}
    last_trade = last_due = since = 0.0
    seen = before = counted = 0  # numbers of orders
    limit = time.monotonic() + PATIENCE
    async with Meter(broker.bootstrap, namespace, partitions) as meter:
        while ended < partitions:
            batches = await meter.take(50)
            now = time.time()
            if start is None and begun.done():
                start = json.loads(begun.result())
                since, limit = start["began"] + WARM_SECONDS, time.monotonic() + 10 * PATIENCE
            if since and now >= since and not spent:
                spent = {name: cpu([process]) for name, process in processes.items()} | {"meter": time.process_time()}
                before = seen
            for records in batches:
                rows = rows_in(records)
                ended += len(rows.get(e.EpochMatched.name, ()))
                trades = rows.get(e.TradeExecuted.name)
                if trades is not None and start is not None:
                    step = (trades[:, e.TradeExecuted.TICK] - start["first"]) // start["step"]
                    due = start["began"] + step * (start["step"] / rate)
                    latencies.add(now, since, due)
                    last_trade, last_due = now, float(due[-1])
                    seen = int(trades[:, e.TradeExecuted.TICK].max())
            if batches and start is not None:
                after = {name: cpu([process]) or spent.get(name, 0) for name, process in processes.items()}
                after["meter"] = time.process_time()
                if after["generator"] <= spent.get("generator", 0):
                    after = {}
                elif spent:
                    used = {name: after[name] - spent[name] for name in after}
                    counted = seen - before
            worker.check()
            if time.monotonic() > limit:
                raise SetupError("the live run did not end", "see the worker's log")
    finished = json.loads(await loop.run_in_executor(None, generator.stdout.readline))
    if not latencies.windows or not counted:
        raise SetupError("no trade came within the live run", "measure for longer")
    return Live(
        rate, latencies.quantile(0.5), latencies.quantile(0.95), latencies.quantile(0.99), latencies.growth(),
        finished["offered"], finished["late_ms"], last_trade - last_due,
        {name: 1e6 * value / counted for name, value in used.items()},
        [latencies.quantile(0.5, [w]) for w in sorted(latencies.windows)],
    )  # fmt: skip

"""Scale: 1, 2 and 4 partitions with as many workers on one machine, preloaded.

The workers join first and are stopped (SIGSTOP) while the orders are written; time runs from when they go on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.market.flow import LIMIT_CANCEL, Flow
from bench.market.lab import PATIENCE, Worker, cpu, make_topics, new_namespace
from bench.market.preloaded import matched, preload
from bench.market.stats import median
from economy.errors import SetupError
from infra.broker import Broker

SIZES: Final = (1, 2, 4)
_BOOKS: Final = 8  # as many for each partition
_SESSION: Final = 25.0  # seconds that the group waits for stopped workers; Faust allows less than its 30 of a request


def measure(broker: Broker, folder: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    """One row per number of partitions: orders a second, processor us per order, and the cores that were busy."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size in SIZES:
            found[size].append(_run(broker, folder, count, size))
    return [
        {"partitions": size, "workers": size, "cores_of_machine": os.cpu_count()}
        | {name: round(median([run[name] for run in runs]), 3) for name in runs[0]}
        for size, runs in found.items()
    ]


def _spread(workers: list[Worker], partitions: int) -> bool:
    return all(worker.restored() for worker in workers) and sum(len(w.restored()) for w in workers) >= partitions


def _run(broker: Broker, folder: Path, count: int, size: int) -> dict[str, float]:
    namespace = new_namespace()
    make_topics(broker.bootstrap, namespace, size)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(broker.bootstrap, namespace, folder, size, f"w{i}", session_timeout=_SESSION))
            for i in range(size)
        ]
        limit = time.monotonic() + PATIENCE
        while not _spread(workers, size):
            for worker in workers:
                worker.check()
            if time.monotonic() > limit:
                raise SetupError(f"{size} workers did not share {size} partitions", "see their logs")
            time.sleep(0.1)
        time.sleep(1.0)  # the last rebalance
        _signal(workers, signal.SIGSTOP)
        try:
            sent = asyncio.run(preload(broker.bootstrap, namespace, Flow(LIMIT_CANCEL, _BOOKS), count, size))
        finally:
            before = cpu([worker.process for worker in workers]), cpu([broker.process])
            began = time.time()
            _signal(workers, signal.SIGCONT)
        ended, _ = asyncio.run(matched(broker.bootstrap, namespace, workers, size))
        spent = cpu([worker.process for worker in workers]) - before[0], cpu([broker.process]) - before[1]
    took = ended - began
    return {
        "orders_per_second": round(sent / took), "worker_cpu_us": 1e6 * spent[0] / sent,
        "broker_cpu_us": 1e6 * spent[1] / sent, "worker_cores": spent[0] / took, "broker_cores": spent[1] / took,
    }  # fmt: skip


def _signal(workers: list[Worker], number: int) -> None:
    for worker in workers:
        worker.process.send_signal(number)

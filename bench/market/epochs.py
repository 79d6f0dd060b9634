"""Epochs: clock, two shards in Ray, Kafka, matching, Kafka, shards; the time from cut to cut, by orders per epoch."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from agents.registry import Models
from bench.market.lab import PATIENCE, Worker, cpu, make_topics, new_namespace
from bench.market.stats import median
from economy.errors import SetupError
from infra.broker import Broker
from runs.kafka import StreamRun
from runs.protocol import RunSpec, new_run_id
from runs.rayhost import RayHost

SHARDS: Final = 2
SIZES: Final = {50: 1_500, 500: 500, 5_000: 120}  # orders per epoch -> epochs
WARM: Final = 1 / 3  # share of a run's epochs that is not counted either


def measure(broker: Broker, folder: Path, share: float, rounds: int) -> list[dict[str, Any]]:
    """One row per size: medians over the rounds of p50, p95 and p99 in ms, and processor ms per epoch by process."""
    with RayHost("", folder) as host:
        # Not counted: a broker that has just started compiles for the first seconds, on the cores of all.
        _run(broker, folder, host, min(SIZES), max(30, int(SIZES[min(SIZES)] * share)))
        found = {
            size: [_run(broker, folder, host, size, max(30, int(epochs * share))) for _ in range(rounds)]
            for size, epochs in SIZES.items()
        }
    return [
        {"orders": size} | {name: round(median([run[name] for run in runs]), 2) for name in runs[0]}
        for size, runs in found.items()
    ]


def _run(broker: Broker, folder: Path, host: RayHost, size: int, epochs: int) -> dict[str, float]:
    namespace = new_namespace()
    make_topics(broker.bootstrap, namespace)
    with Worker(broker.bootstrap, namespace, folder) as worker, tempfile.TemporaryDirectory() as cuts:
        worker.wait_restored()
        scenario = json.dumps({"agents": size, "epochs": epochs, "folder": cuts}, sort_keys=True)
        spec = RunSpec(new_run_id(), "bench.market.toy:make", scenario, 7, SHARDS, 1, 1)
        run = StreamRun(
            broker.bootstrap, namespace, spec, folder, host, snapshot_every=10_000, models=Models((spec.model,))
        )
        return _watch(broker, worker, run, Path(cuts), epochs)


def _watch(broker: Broker, worker: Worker, run: StreamRun, cuts: Path, epochs: int) -> dict[str, float]:
    limit = time.monotonic() + PATIENCE
    pids: dict[int, int] = {}
    first = last = (0, dict[str, float]())
    while not all((cuts / f"cuts-{shard}.npy").exists() for shard in range(SHARDS)):
        worker.check()
        if time.monotonic() > limit:
            run.abort("the benchmark gives up")
            raise SetupError(f"the epochs did not end: {run.status()}", "see the logs of the run")
        time.sleep(0.2)
        status = run.status()
        pids |= {one["shard"]: one["pid"] for one in status}
        cut = min((one["cut"] for one in status), default=-1)
        if len(status) < SHARDS or cut < WARM * epochs or run.clock.poll() is not None:
            continue
        spent = {
            "broker": cpu([broker.process]), "worker": cpu([worker.process]), "clock": cpu([run.clock]),
            "shards": sum(_cpu_of(pid) for pid in pids.values()),
        }  # fmt: skip
        last = (cut, spent)
        first = first if first[1] else last
    run.wait()
    times = np.max([np.load(cuts / f"cuts-{shard}.npy") for shard in range(SHARDS)], axis=0)
    took = 1000 * np.diff(times)[int(WARM * epochs) :]
    counted = max(1, last[0] - first[0])
    told = {f"p{q}_ms": float(np.quantile(took, q / 100)) for q in (50, 95, 99)}
    return told | {f"cpu_{name}_ms": 1000 * (last[1][name] - first[1][name]) / counted for name in last[1]}


def _cpu_of(pid: int) -> float:
    if pid == os.getpid() or not psutil.pid_exists(pid):
        return 0.0
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)

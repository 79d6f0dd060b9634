"""A place to run models on the stream in tests: topics, a supervised matching worker, Ray."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from agents.model import Model
from agents.registry import Models
from infra.broker import Broker
from runs.kafka import StreamRun
from runs.local import RunResult
from runs.protocol import RunSpec
from runs.rayhost import RayHost
from schemas.log import topics
from tests.integration import commands, toy
from tests.processes import kill, stopped, until

TOY = "tests.toy_model:make"
TRUSTED = Models((TOY,))
_RUN = itertools.count(100)


class Lab:
    """A namespace of a broker with a supervised matching worker; runs are started in it."""

    host: ClassVar[RayHost]  # of the whole session, by the fixture `ray_cluster`

    def __init__(self, broker: Broker, namespace: str, partitions: int, flow_partitions: int, folder: Path) -> None:
        topics.create(broker.bootstrap, namespace, partitions, flow_partitions)
        self.broker, self.namespace, self.folder = broker, namespace, folder
        self.partitions, self.flow_partitions = partitions, flow_partitions
        self._runs: list[StreamRun] = []
        self._beside = ThreadPoolExecutor(thread_name_prefix="run")
        self.stopping = threading.Event()
        self.worker = toy.start_worker(broker.bootstrap, namespace, partitions, folder)
        self.thread = threading.Thread(target=self._supervise, daemon=True)
        self.thread.start()

    def _supervise(self) -> None:
        while not self.stopping.wait(0.05):
            if self.worker.poll() is not None:
                self.worker = toy.start_worker(self.broker.bootstrap, self.namespace, self.partitions, self.folder)

    def start(self, shards: int, model: Model, factory: str = TOY, pace: int = 0, compress: bool = False) -> StreamRun:
        """A run; one that a test acts upon is started at pace 1, a few epochs a second, and let go by `hurry`."""
        spec = RunSpec(
            next(_RUN), factory, model.scenario_json(), model.seed, shards, self.partitions, self.flow_partitions
        )
        where = self.broker.bootstrap, self.namespace
        run = StreamRun(
            *where, spec, self.folder, self.host, snapshot_every=10, pace=pace, models=TRUSTED, compress=compress
        )
        self._runs.append(run)
        return run

    def wait_beside(self, run: StreamRun) -> Future[RunResult]:
        """Wait for a run in a thread, while its processes are killed."""
        return self._beside.submit(run.wait)

    def wait_epoch(self, run: StreamRun, epoch: int) -> None:
        until(lambda: min((s["cut"] for s in run.status()), default=-9) >= epoch)

    def hurry(self, run: StreamRun) -> None:
        commands.hurry(self.broker.bootstrap, self.namespace, run.spec.run)

    def kill_shard(self, run: StreamRun, shard: int) -> None:
        pid = until(lambda: next((s["pid"] for s in run.status() if s["shard"] == shard), 0))
        kill(pid)

    def close(self) -> None:
        """End the worker, and what a test that failed has left of its runs."""
        for run in self._runs:
            run.leave()
        self._beside.shutdown()
        self.stopping.set()
        self.thread.join()
        stopped(self.worker)

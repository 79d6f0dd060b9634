"""A place to run models on the stream in tests: topics, a supervised matching worker, Ray."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from pathlib import Path
from typing import ClassVar

from agents.model import Model
from agents.registry import Models
from infra.broker import Broker
from runs.kafka import StreamRun
from runs.protocol import RunSpec
from runs.rayhost import RayHost
from schemas.log import topics
from tests.integration import toy

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
        self.stopping = threading.Event()
        self.worker = toy.start_worker(broker.bootstrap, namespace, partitions, folder)
        self.thread = threading.Thread(target=self._supervise, daemon=True)
        self.thread.start()

    def _supervise(self) -> None:
        while not self.stopping.wait(0.05):
            if self.worker.poll() is not None:
                self.worker = toy.start_worker(self.broker.bootstrap, self.namespace, self.partitions, self.folder)

    def start(self, shards: int, model: Model, factory: str = TOY) -> StreamRun:
        spec = RunSpec(
            next(_RUN), factory, model.scenario_json(), model.seed, shards, self.partitions, self.flow_partitions
        )
        where = self.broker.bootstrap, self.namespace
        return StreamRun(*where, spec, self.folder, self.host, snapshot_every=10, models=TRUSTED)

    def wait_epoch(self, run: StreamRun, epoch: int) -> None:
        limit = time.monotonic() + 60
        while min((s["cut"] for s in run.status()), default=-9) < epoch:
            assert time.monotonic() < limit, run.status()
            time.sleep(0.02)

    def kill_shard(self, run: StreamRun, shard: int) -> None:
        os.kill(next(s["pid"] for s in run.status() if s["shard"] == shard), signal.SIGKILL)

    def close(self) -> None:
        self.stopping.set()
        self.thread.join()
        self.worker.send_signal(signal.SIGTERM)
        self.worker.wait(15)

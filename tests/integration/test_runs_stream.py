"""The stream carrier against the local one: one digest, whatever the shards, partitions, neighbours and crashes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from economy.errors import SetupError
from infra.broker import Broker
from runs.control import control
from runs.local import run_local
from runs.replay import replay
from schemas.catalogue import ORDERS
from schemas.log.clocklog import read_clock
from schemas.log.reader import read_all
from tests.integration.lab import TRUSTED, Lab
from tests.processes import PATIENCE
from tests.toy_model import make

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]
SCENARIO = json.dumps({"agents": 40, "epochs": 120})
SEED = 5


@pytest.fixture(scope="module")
def expected() -> str:
    return run_local(make(SCENARIO, SEED)).digest


@pytest.mark.parametrize(("shards", "partitions", "flow_partitions"), [(1, 1, 1), (2, 4, 2), (3, 1, 1)])
def test_digest_equals_the_local_carrier(
    broker: Broker, namespace: str, tmp_path: Path, expected: str, shards: int, partitions: int, flow_partitions: int
) -> None:
    lab = Lab(broker, namespace, partitions, flow_partitions, tmp_path)
    try:
        result = lab.start(shards, make(SCENARIO, SEED)).wait()
        assert result.digest == expected
        seen: set[tuple[int, int]] = set()
        for chunk in read_all(broker.bootstrap, namespace, [(ORDERS, p) for p in range(partitions)]):
            rows = chunk.rows.get("OrderSubmitted", np.empty((0, 17), np.int64))
            seen.update(map(tuple, rows[:, 2:4].tolist()))
        assert len(seen) == result.orders > 1000  # one record per order
    finally:
        lab.close()


def test_two_runs_at_once_and_pause(broker: Broker, namespace: str, tmp_path: Path, expected: str) -> None:
    lab = Lab(broker, namespace, 2, 1, tmp_path)
    try:
        first, second = lab.start(2, make(SCENARIO, SEED), pace=1), lab.start(1, make(SCENARIO, 6))
        lab.wait_epoch(first, 5)
        control(broker.bootstrap, namespace, first.spec.run, pause=True)
        assert second.wait().digest == run_local(make(SCENARIO, 6)).digest
        assert read_clock(broker.bootstrap, namespace, first.spec.run).paused
        assert first.clock.poll() is None
        control(broker.bootstrap, namespace, first.spec.run, pause=False)
        lab.hurry(first)
        assert first.wait().digest == expected
    finally:
        lab.close()


def test_what_shards_pack_is_read_by_all_and_changes_nothing(
    broker: Broker, namespace: str, tmp_path: Path, expected: str
) -> None:
    lab = Lab(broker, namespace, 2, 2, tmp_path)

    def written() -> int:
        """Bytes of the orders' segments."""
        return sum(part.stat().st_size for part in (broker.folder / "log").glob(f"{namespace}.{ORDERS}-*/*.log"))

    try:
        sizes = []
        for compress in (False, True):
            before = written()
            run = lab.start(2, make(SCENARIO, SEED), compress=compress)
            assert run.wait().digest == expected
            sizes.append(written() - before)
            found = replay(broker.bootstrap, namespace, run.spec.run, models=TRUSTED)
            assert found.proven
            assert found.verdict.findings == ()
        assert sizes[1] < 0.9 * sizes[0]
    finally:
        lab.close()


@pytest.mark.chaos
def test_kill_9_of_shard_worker_and_clock(broker: Broker, namespace: str, tmp_path: Path, expected: str) -> None:
    lab = Lab(broker, namespace, 2, 2, tmp_path)
    try:
        run = lab.start(2, make(SCENARIO, SEED), pace=1)
        result = lab.wait_beside(run)
        lab.wait_epoch(run, 12)  # behind a snapshot
        lab.kill_shard(run, 1)
        lab.wait_epoch(run, 16)
        lab.worker.kill()
        lab.wait_epoch(run, 20)
        assert run.clock.poll() is None
        run.clock.kill()
        lab.wait_epoch(run, 24)
        lab.hurry(run)
        assert result.result(PATIENCE).digest == expected
    finally:
        lab.close()


def test_what_the_watch_finds_leaves_run_aborted_on_the_log(broker: Broker, namespace: str, tmp_path: Path) -> None:
    lab = Lab(broker, namespace, 1, 1, tmp_path)
    try:
        run = lab.start(1, make(SCENARIO, SEED), pace=1)

        def watch() -> None:
            if min((s["cut"] for s in run.status()), default=-9) >= 3:
                raise SetupError("matching failed", "see its log")

        with pytest.raises(SetupError, match="see its log"):
            run.wait(watch=watch)
        assert read_clock(broker.bootstrap, namespace, run.spec.run).aborted == "matching failed"
        assert isinstance(run.clock, subprocess.Popen)
        assert run.clock.poll() is not None
    finally:
        lab.close()

"""The village on Kafka, Faust and Ray against the local carrier, with and without crashes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agents.registry import VILLAGE
from agents.village import VillageModel
from economy.scenario import load_scenario
from infra.broker import Broker
from runs.local import RunResult, run_local
from tests.integration.lab import Lab
from tests.kept_digests import assert_as_kept, kept_model
from tests.processes import PATIENCE

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


def village(seed: int = 3, years: int = 1) -> VillageModel:
    return VillageModel(load_scenario("village", {"years": str(years)}), seed)


@pytest.fixture(scope="module")
def expected() -> RunResult:
    return run_local(village())


@pytest.mark.parametrize(("shards", "partitions", "flow_partitions"), [(1, 1, 1), (2, 4, 2), (3, 1, 1)])
def test_one_digest_on_both_carriers(
    broker: Broker,
    namespace: str,
    tmp_path: Path,
    expected: RunResult,
    shards: int,
    partitions: int,
    flow_partitions: int,
) -> None:
    lab = Lab(broker, namespace, partitions, flow_partitions, tmp_path)
    try:
        result = lab.start(shards, village(), VILLAGE).wait()
        assert result.digest == expected.digest
        assert (result.orders, result.trades) == (expected.orders, expected.trades)
    finally:
        lab.close()


def test_a_run_on_the_stream_is_what_it_was_when_it_was_written_down(
    broker: Broker, namespace: str, tmp_path: Path
) -> None:
    lab = Lab(broker, namespace, 2, 2, tmp_path)
    try:
        assert_as_kept(lab.start(2, kept_model(1), VILLAGE).wait(), 1)
    finally:
        lab.close()


@pytest.mark.chaos
@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_random_kills_do_not_show(broker: Broker, namespace: str, tmp_path: Path, seed: int) -> None:
    """Shards, worker and clock killed with -9 at random moments, one at a time and in pairs."""
    dice = random.Random(seed)
    plain = run_local(village(seed, years=3)).digest
    lab = Lab(broker, namespace, 2, 2, tmp_path)
    try:
        run = lab.start(2, village(seed, years=3), VILLAGE, pace=5)  # the last kill too finds it on its way
        result = lab.wait_beside(run)
        for epoch in sorted(dice.sample(range(20, 400), 8)):
            lab.wait_epoch(run, epoch)
            for victim in dice.sample(["shard", "worker", "clock"], dice.choice([1, 1, 2])):
                if victim == "shard":
                    lab.kill_shard(run, dice.randrange(2))
                elif victim == "worker":
                    lab.worker.kill()
                else:
                    run.clock.kill()
        lab.hurry(run)
        assert result.result(PATIENCE).digest == plain
    finally:
        lab.close()

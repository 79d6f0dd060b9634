"""Who of two processes of one shard is the newer says the log, not the clocks of their nodes."""

from __future__ import annotations

import json
import time

import pytest

from agents.loop import ShardConfig, ShardLoop, next_incarnation
from infra.broker import Broker
from tests.integration.lab import TOY
from tests.integration.written import Written
from tests.toy_model import make

pytestmark = pytest.mark.integration
AHEAD = 1000 * int(time.time() + 100 * 365 * 86_400)  # of a node whose clock is a hundred years ahead


def test_a_shard_that_starts_behind_one_of_a_faster_clock_goes_on(broker: Broker, namespace: str) -> None:
    Written(
        broker.bootstrap, namespace, make(json.dumps({"agents": 8, "epochs": 4}), 1), TOY, incarnation=AHEAD
    )  # fmt: skip
    config = ShardConfig(broker.bootstrap, namespace, 7, 0, trusted=(TOY,))
    starts = []
    for _ in range(2):  # behind its predecessor's markers, then behind a snapshot and no marker
        loop = ShardLoop(config)
        loop.run()
        assert loop.finished
        starts.append(loop.incarnation)
    assert AHEAD < starts[0] < starts[1]


@pytest.mark.parametrize(
    "newest", [0, 1000 * int(time.time()), AHEAD, next_incarnation(AHEAD, 5)],
    ids=["none", "of a clock", "ahead", "drawn by lot"],  # processes of tests must name them alike
)  # fmt: skip
def test_every_start_is_above_what_is_on_the_log(newest: int) -> None:
    """Earlier versions took the milliseconds of their clocks."""
    assert newest < next_incarnation(newest, 0) < next_incarnation(newest, int(time.time()))  # the later command's
    assert len({next_incarnation(newest, 5) for _ in range(20)}) > 1  # two of one command

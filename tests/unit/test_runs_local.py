"""The local carrier: shards, partitions and restores do not show in the digest."""

from __future__ import annotations

import json

import pytest

from runs.local import run_local
from tests.toy_model import make

SCENARIO = json.dumps({"agents": 30, "epochs": 40})


@pytest.mark.parametrize(("shards", "partitions", "restore_every"), [(1, 4, 0), (2, 1, 0), (3, 2, 1)])
def test_digest_is_independent_of_the_cut(shards: int, partitions: int, restore_every: int) -> None:
    plain = run_local(make(SCENARIO, 3))
    other = run_local(make(SCENARIO, 3), run=9, shards=shards, partitions=partitions, restore_every=restore_every)
    assert plain.trades > 100
    assert (other.digest, other.orders, other.trades) == (plain.digest, plain.orders, plain.trades)


def test_digest_depends_on_the_seed_and_on_interventions() -> None:
    plain = run_local(make(SCENARIO, 3)).digest
    assert run_local(make(SCENARIO, 4)).digest != plain
    assert run_local(make(SCENARIO, 3), interventions={7: [("gift", "1000")]}).digest != plain

"""Random numbers against numpy's own Philox."""

from __future__ import annotations

import numpy as np
import pytest

from economy.numbers import rng


@pytest.mark.parametrize(
    ("seed", "agent", "stream", "tick"), [(1, 0, 0, 0), (7, 539, 19, 39_900), (2**40, 10**6, 3, 5)]
)
def test_words_are_those_of_numpy(seed: int, agent: int, stream: int, tick: int) -> None:
    # numpy adds one to the counter before its first block, so block 1 of ours is its first.
    theirs = np.random.Philox(key=[seed, agent * rng.STREAMS + stream], counter=[tick - 1, 0, 0, 0]).random_raw(4)
    if tick == 0:
        theirs = np.random.Philox(key=[seed, agent * rng.STREAMS + stream], counter=[2**64 - 1] * 4).random_raw(4)
    ours = rng.philox(seed, agent, stream, tick, 0)
    assert [int(w) for w in ours] == [int(w) for w in theirs]


def test_agents_do_not_share_luck_and_order_does_not_matter() -> None:
    ids = np.arange(1000, dtype=np.int64)
    whole = rng.uniform(3, ids, 5, 100)
    shuffled = np.random.default_rng(0).permutation(ids)
    assert (rng.uniform(3, shuffled, 5, 100) == whole[shuffled]).all()
    assert len(np.unique(whole)) == len(whole)
    assert abs(np.corrcoef(whole[:-1], whole[1:])[0, 1]) < 0.1


def test_moments() -> None:
    ids = np.arange(200_000, dtype=np.int64)
    u, z = rng.uniform(1, ids, 0, 0), rng.normal(1, ids, 1, 0)
    assert abs(u.mean() - 0.5) < 0.003
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert 0 < u.min() < u.max() < 1


def test_ticks_lie_in_their_epoch() -> None:
    ticks = rng.ticks_in_epoch(1, np.arange(5000, dtype=np.int64), 6, 7, 20)
    assert set(ticks.tolist()) == set(range(140, 160))

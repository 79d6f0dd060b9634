"""Which snapshot counts: the newest that is whole, whatever others have written before, after and in between."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.log import snapshots


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK", 400)


def values(version: int, seed: int, owner: int = 1) -> list[bytes]:
    state = {"numbers": np.random.default_rng(seed).integers(0, 2**60, 100)}
    return [value for _, value in snapshots.pack(owner, version, state)]


def seed_of(found: tuple[int, snapshots.State] | None) -> tuple[int, int]:
    assert found is not None
    for seed in range(9):
        if (found[1]["numbers"] == np.random.default_rng(seed).integers(0, 2**60, 100)).all():
            return found[0], seed
    raise AssertionError("the state of nobody")


def test_the_newest_whole_one_wins_whoever_writes_last() -> None:
    assert len(values(1, 1)) == 3
    assert snapshots.newest([], 1) is None
    assert snapshots.newest(values(7, 0, owner=2) + values(3, 1)[:2], 1) is None
    assert seed_of(snapshots.newest(values(5, 2) + values(6, 3)[1:] + values(4, 1), 1)) == (5, 2)


def test_one_that_two_processes_have_mixed_is_passed_over() -> None:
    one, other = values(6, 3), values(6, 4)
    mixed = [one[0], other[0], one[1], other[1], other[2], one[2]]
    assert seed_of(snapshots.newest(values(5, 2) + mixed, 1)) == (5, 2)
    assert seed_of(snapshots.newest(values(5, 2) + mixed + values(6, 5), 1)) == (6, 5)

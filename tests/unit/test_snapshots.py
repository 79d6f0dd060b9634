"""Which snapshot counts: the newest that is whole, whatever others have written before, after and in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runs.checkpoint import Checkpoints
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


def test_one_of_another_format_is_passed_over_or_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    state = {"numbers": np.arange(5)}
    kept = Checkpoints(tmp_path, "key")
    ours, other = snapshots.FORMAT, snapshots.FORMAT + 1
    monkeypatch.setattr(snapshots, "FORMAT", other)
    newer, data = values(9, 4), snapshots.packed(state)
    kept.save("world", 20, state)
    monkeypatch.undo()
    assert seed_of(snapshots.newest(values(5, 2) + newer, 1)) == (5, 2)
    assert (
        f"snapshot 9 of 1 is passed over: a state has format {other}, this program reads format {ours}" in caplog.text
    )
    with pytest.raises(snapshots.SnapshotFormatError, match=f"format {other}, this program reads format {ours}"):
        snapshots.unpacked(data)
    assert kept.newest("world", 30) is None
    kept.save("world", 10, state)
    found = kept.newest("world", 30)
    assert found is not None
    assert list(found) == ["numbers"]
    # What was written before formats had numbers is of the first.
    with pytest.raises(snapshots.SnapshotFormatError, match="format 1,"):
        snapshots.checked(state)

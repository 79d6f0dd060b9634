"""The external sort against sorting in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from economy.errors import NonDeterministicError, SetupError
from runs import extsort
from runs.extsort import ExternalSort


@pytest.mark.parametrize("seed", range(20))
def test_it_sorts_and_drops_repeats(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(extsort, "SEGMENT_ROWS", int(rng.integers(1, 400)))
    monkeypatch.setattr(extsort, "MERGE_ROWS", int(rng.integers(1, 200)))
    monkeypatch.setattr(extsort, "_LEAST", int(rng.integers(1, 9)))
    keys = np.unique(rng.integers(-5, 30, (600, 2)), axis=0)
    rows = np.column_stack((np.full(len(keys), 7), keys, keys @ [3, 5]))
    sent = rng.permutation(np.concatenate((rows, rows[rng.integers(0, len(rows), 300)])))
    with ExternalSort((1, 2), 4, tmp_path) as sort:
        for part in np.array_split(sent, 23):
            sort.add(part)
        blocks = list(sort.sorted())
    assert np.array_equal(np.concatenate(blocks), rows)
    assert list(tmp_path.iterdir()) == []


def test_one_identity_with_two_contents_is_refused_also_in_two_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extsort, "SEGMENT_ROWS", 2)
    with ExternalSort((1,), 3, tmp_path) as sort:
        for value in (1, 2, 3, 4):
            sort.add(np.array([[0, value % 3, value % 2]]))
        with pytest.raises(NonDeterministicError, match="share an identity"):
            list(sort.sorted())


def test_nothing_is_sorted_into_nothing(tmp_path: Path) -> None:
    with ExternalSort((1,), 3, tmp_path) as sort:
        assert list(sort.sorted()) == []


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_what_cannot_be_put_aside_is_one_error(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(extsort, "SEGMENT_ROWS", 1)
    with ExternalSort((1,), 2, tmp_path / folder) as sort, pytest.raises(SetupError, match=f"{folder}.*put aside"):
        sort.add(np.array([[0, 1]]))

"""What the village computes does not change with the code that computes it."""

from __future__ import annotations

import pytest

from runs.local import run_local
from tests.kept_digests import SEEDS, assert_as_kept, kept_model


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_is_what_it_was_when_it_was_written_down(seed: int) -> None:
    assert_as_kept(run_local(kept_model(seed), shards=1 + seed % 2), seed)

"""Digests of the village that were written down once: whatever moves or is rewritten, a run computes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from agents.village import VillageModel
from economy.scenario import RULES_VERSION, load_scenario
from runs.local import RunResult

_KEPT: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "digests.json").read_text())
SEEDS: Final = tuple(sorted(map(int, _KEPT["runs"])))


def kept_model(seed: int) -> VillageModel:
    """The model whose run was written down."""
    return VillageModel(load_scenario(_KEPT["scenario"], _KEPT["overrides"]), seed)


def assert_as_kept(result: RunResult, seed: int) -> None:
    """The run came out as it did when it was written down, under the rules of then."""
    assert _KEPT["rules_version"] == RULES_VERSION, "other rules: see tests/data/README.md"
    assert {"digest": result.digest, "orders": result.orders, "trades": result.trades} == _KEPT["runs"][str(seed)]

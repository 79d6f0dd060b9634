"""Which windows of figures a run has of its own, told by its row in ClickHouse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from economy.errors import ScenarioError
from economy.scenario import scenario_from_json


def own_windows(row: Mapping[str, Any]) -> range:
    """Numbers of the windows whose figures a finished run has; empty for a tape, or a model without accounts.

    Windows that closed before the cut of a fork are its parent's.
    """
    try:
        ticks = scenario_from_json(row["config"]).time.window_ticks
    except (ScenarioError, ValueError, TypeError):
        return range(0)
    begins = (row["parent_epoch"] + 1) * row["epoch_ticks"]
    return range(begins // ticks, row["ticks"] // ticks)

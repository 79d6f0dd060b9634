"""Medians and spreads of rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """Median of the rounds."""
    return float(statistics.median(values))


def spread(values: Sequence[float]) -> list[float]:
    """(lowest, highest), three digits."""
    return [float(f"{min(values):.3g}"), float(f"{max(values):.3g}")]

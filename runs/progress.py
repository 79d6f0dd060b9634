"""How long work tells of its progress."""

from __future__ import annotations

from collections.abc import Callable

Told = Callable[[int, int], None]  # (done, in all), both of what the work counts: records, epochs, runs

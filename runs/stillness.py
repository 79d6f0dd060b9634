"""Since when nothing of a run moves: no new cut is made, and none that was there before is made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_STARTS: Final = 3  # of a shard without a new cut, after which what it computes again is no movement
_NOTHING: Final = -(2**63)  # below every cut


@dataclass
class _Seen:
    """A shard as it was last seen."""

    pid: int
    cut: int = _NOTHING  # of this process
    best: int = _NOTHING  # of all its processes
    starts: int = 0  # since then


class Movement:
    """Tells a run that stands still from one that catches up.

    A shard that was started again computes up to a hundred epochs from its snapshot, which takes minutes where epochs
    are slow: that is movement as well. One that dies again and again before it has made a new cut stands still.
    """

    def __init__(self, now: float) -> None:
        """`now` and all times are seconds of one clock."""
        self._last = now
        self._shards: dict[int, _Seen] = {}

    def still(self, now: float) -> float:
        """Seconds without movement."""
        return now - self._last

    def excuse(self, now: float) -> None:
        """Count the run as moved: it has a reason to stand still that is known."""
        self._last = now

    def renew(self, now: float) -> None:
        """All shards are started again by somebody who counts that himself."""
        self._last = now
        for seen in self._shards.values():
            seen.pid, seen.cut = 0, _NOTHING

    def look(self, status: Iterable[Mapping[str, Any]], now: float) -> bool:
        """Take in what the shards say; whether one has made a cut that it had never made before."""
        new = False
        for one in status:
            seen = self._shards.setdefault(one["shard"], _Seen(one["pid"]))
            if one["pid"] != seen.pid:
                seen.starts += seen.pid != 0
                seen.pid, seen.cut = one["pid"], _NOTHING
            if one["cut"] <= seen.cut:
                continue
            seen.cut = one["cut"]
            if seen.cut > seen.best:
                seen.best, seen.starts, new = seen.cut, 0, True
            if seen.starts <= _STARTS:
                self._last = now
        return new

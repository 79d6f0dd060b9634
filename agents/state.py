"""State of a group of agents as named arrays, so that a snapshot is a dictionary of arrays and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray


class Arrays:
    """Base of every part of a shard's state: the arrays named in STATE are all that changes from cut to cut."""

    STATE: ClassVar[tuple[str, ...]] = ()

    def dump(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Copies of the arrays, by `prefix.name`."""
        return {f"{prefix}.{name}": getattr(self, name).copy() for name in self.STATE}

    def load(self, prefix: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        for name in self.STATE:
            setattr(self, name, state[f"{prefix}.{name}"].copy())

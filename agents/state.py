"""State of a group of agents as named arrays, so that a snapshot is a dictionary of arrays and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


class Arrays:
    """Base of every part of a shard's state: the arrays named in STATE are all that changes from cut to cut."""

    STATE: ClassVar[tuple[str, ...]] = ()
    LISTS: ClassVar[tuple[str, ...]] = ()  # those that are no array by agent, but rows that begin with an agent's place

    def dump(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Copies of the arrays, by `prefix.name`."""
        return {f"{prefix}.{name}": getattr(self, name).copy() for name in self.STATE}

    def load(self, prefix: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        for name in self.STATE:
            setattr(self, name, state[f"{prefix}.{name}"].copy())


def blended(
    parts: Sequence[tuple[NDArray[np.bool_], Mapping[str, NDArray[Any]]]], lists: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """One state of a group out of several: of each agent that in which `mask` (agents,) has it.

    `lists` are the names of arrays of rows (place of an agent, ...); all others are (agents, ...).
    """
    found = {}
    for name, first in parts[0][1].items():
        if name in lists:
            found[name] = np.concatenate([state[name][mask[state[name][:, 0]]] for mask, state in parts])
            continue
        found[name] = first.copy()
        for mask, state in parts[1:]:
            found[name][mask] = state[name][mask]
    return found

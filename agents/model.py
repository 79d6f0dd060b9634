"""What a run needs of an economy: its instruments, its opening and its shards. The carriers know no more than this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from economy.instruments import Instrument
from economy.records.events import Events

Intervention = tuple[str, str]  # (key, value as JSON)


class Shard(Protocol):
    """The agents of one shard at a cut. Pure: what it emits depends on its state and on what it is given."""

    def step(self, epoch: int, interventions: Sequence[Intervention]) -> Events:
        """Decisions, flows, orders and cancels of one epoch."""

    def apply(self, epoch: int, flows: Events, trades: Events) -> None:
        """Make the cut: all flows, then all trades of the epoch, each type in canonical order."""

    def learn(self, recorded: Events) -> None:
        """Keep what agents did in the parent, for the step whose interventions pin them to it."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """State at the cut, as arrays."""


class Model(Protocol):
    """An economy for a given scenario and seed."""

    epoch_ticks: int
    last_epoch: int
    name: str
    seed: int

    def scenario_json(self) -> str:
        """The scenario as canonical JSON; the factory of `agents.registry` makes the same model from it."""

    def instruments(self, changes: Sequence[Intervention] = ()) -> Sequence[Instrument]:
        """Everything that is traded, under the rules of trading that the changes so far leave."""

    def pinned(self, changes: Sequence[Intervention]) -> NDArray[np.int64]:
        """Agents that these changes hold to what they did in the parent."""

    def opening(self, run: int) -> tuple[Events, Sequence[tuple[str, Mapping[str, Any]]]]:
        """Opening records of the flow topic: integer rows, and cold ones as (name, fields)."""

    def check(self, key: str, value: str) -> None:
        """Raises InputError for an intervention that the economy does not know or a value out of range."""

    def new_shard(self, run: int, shard: int, shards: int, opening: Events) -> Shard:
        """A shard at the cut of the opening."""

    def load_shard(self, run: int, shard: int, shards: int, state: Mapping[str, NDArray[Any]]) -> Shard:
        """A shard from what `dump` gave."""

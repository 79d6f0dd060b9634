"""Who is who: agent ids by role, and which shard owns whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from economy.scenario import Scenario

GOVERNMENT: Final = 0
CENTRAL_BANK: Final = 1
STATISTICS_OFFICE: Final = 2
FIRST_MAKER: Final = 3


@dataclass(frozen=True)
class Population:
    """Agent ids: 0 government, 1 central bank, 2 statistics office, market makers, corporations, households.

    Shard of an agent = id % shards, its place among the shard's agents = id // shards.
    """

    makers: int
    firms: int
    households: int
    listed: int

    @property
    def first_firm(self) -> int:
        """Id of the first corporation."""
        return FIRST_MAKER + self.makers

    @property
    def first_household(self) -> int:
        """Id of the first household."""
        return self.first_firm + self.firms

    @property
    def size(self) -> int:
        """Number of agents."""
        return self.first_household + self.households

    @cached_property
    def everybody(self) -> NDArray[np.int64]:
        """All household ids."""
        return np.arange(self.first_household, self.size, dtype=np.int64)

    def local(self, first: int, last: int, shard: int, shards: int) -> tuple[int, int]:
        """Half-open range of places of the ids first..last-1 among the agents of one shard."""
        return (first - shard + shards - 1) // shards, (last - shard + shards - 1) // shards


def population_of(scenario: Scenario) -> Population:
    """The population of a scenario."""
    people = scenario.population
    firms = sum(p.firms for p in scenario.products)
    return Population(people.market_makers, firms, people.households, min(people.listed, firms))

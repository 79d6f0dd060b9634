"""Who is who: agent ids by role, and which shard owns whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from economy.accounts import CENTRAL_BANK, GOVERNMENT
from economy.records.events import Role
from economy.scenario import Scenario

_STATISTICS_OFFICE: Final = 2
_FIRST_MAKER: Final = 3


@dataclass(frozen=True)
class Population:
    """Agent ids: 0 government, 1 central bank, 2 statistics office, market makers, corporations, households.

    Shard of an agent = id % shards, its place among the shard's agents = id // shards.
    """

    makers: int
    firms: int
    households: int
    listed: int

    government = GOVERNMENT
    central_bank = CENTRAL_BANK
    statistics_office = _STATISTICS_OFFICE
    first_maker = _FIRST_MAKER

    @property
    def first_firm(self) -> int:
        """Id of the first corporation."""
        return _FIRST_MAKER + self.makers

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

    def role_of(self, agent: int) -> Role:
        """Role of an agent id."""
        if agent >= self.first_household:
            return Role.HOUSEHOLD
        if agent >= self.first_firm:
            return Role.CORPORATION
        if agent >= _FIRST_MAKER:
            return Role.MARKET_MAKER
        return (Role.GOVERNMENT, Role.CENTRAL_BANK, Role.STATISTICS_OFFICE)[agent]

    def members(self, first: int, last: int, shard: int, shards: int) -> NDArray[np.int64]:
        """Ids first..last-1 that live on a shard, rising."""
        ids = np.arange(first, last, dtype=np.int64)
        return ids[ids % shards == shard]


def population_of(scenario: Scenario) -> Population:
    """The population of a scenario."""
    people = scenario.population
    firms = sum(p.firms for p in scenario.products)
    return Population(people.market_makers, firms, people.households, min(people.listed, firms))

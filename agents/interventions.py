"""The menu of what may be changed in a village from outside, each an InterventionApplied on the run's log.

A decree holds until it is lifted with null; anything else holds until it is set again. An agent that is silenced
decides and sends nothing more; its contracts and balances stand as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.strategies import OPTIONS, strategies_of
from economy.errors import InputError
from economy.population import Population, population_of
from economy.records.events import Role
from economy.scenario import Scenario

Ints = NDArray[np.int64]
LATEST: Final = 1_000_000  # ticks by which news may be late


class Decree(IntEnum):
    """What a decree takes out of the hands of government and central bank."""

    INCOME_TAX = 0
    POLICY_RATE = 1
    SPENDING = 2


class Figures(IntEnum):
    """What agents are shown of the economy, in two parts."""

    PRICES = 0
    STATISTICS = 1


@dataclass(frozen=True)
class Entry:
    """One line of the menu. `low` and `high` bound a number; `liftable` ones take null as well; `choices` are words."""

    key: str
    low: float
    high: float
    liftable: bool
    what: str
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The key's first word."""
        return self.key.partition(".")[0]

    @property
    def values(self) -> str:
        """What the value may be, for people."""
        bounds = "0 or 1" if self.kind in _SWITCHES else f"{self.low:.10g} to {self.high:.10g}"
        told = ", ".join(self.choices) or bounds
        return told + (", or null to lift it" if self.liftable else "")


_SWITCHES: Final = ("silent", "pin", "blank")
_NAMES: Final = tuple(dict.fromkeys(option.name for option in OPTIONS))
MENU: Final = (
    Entry("income_tax", 0, 0.9, True, "decree: rate of the income tax, instead of the fiscal rule's"),
    Entry("policy_rate", 0, 1, True, "decree: policy rate per year, instead of the Taylor rule's"),
    Entry("government_spending", 0, 10, True, "decree: real government purchases, factor of the normal ones"),
    Entry("government_demand", 0, 10, False, "shock: real government purchases, factor on top of the fiscal rule"),
    Entry("supply.<product>", 0, 10, False, "shock: productivity of a product's firms, factor"),
    Entry("silent.<agents>", 0, 1, False, "1 takes firms, market makers or households out, 0 lets them back"),
    Entry("strategy.<agents>", 0, 0, False, "the strategy that agents of one role follow", _NAMES),
    Entry("pin.<agents>", 0, 1, False, "1 holds households or market makers to what they did in the parent"),
    Entry("band.<instrument>", 0, 1, True, "constraint: limits further from the price are rejected; 0 = no band"),
    Entry("breaker.<instrument>", 0, 1, True, "constraint: a trade further from the price halts trading; 0 = never"),
    Entry("delay.<figures>.<agents>", 0, LATEST, False, "sight: prices or statistics come so many ticks late"),
    Entry("blank.<figures>.<agents>", 0, 1, False, "sight: 1 shows no new prices or statistics, 0 shows them again"),
    Entry("distort.<figures>.<agents>", 0.1, 10, False, "sight: prices or statistics times a factor; 1 = true ones"),
)  # fmt: skip
DECREES: Final = {"income_tax": Decree.INCOME_TAX, "policy_rate": Decree.POLICY_RATE,
                  "government_spending": Decree.SPENDING}  # fmt: skip
GROUPS: Final = ("government", "central_bank", "market_makers", "corporations", "households")
TRADING: Final = ("band", "breaker")  # kinds that change the rules of trading
SIGHT: Final = ("delay", "blank", "distort")
_ACTORS: Final = (Role.MARKET_MAKER, Role.CORPORATION, Role.HOUSEHOLD)
_WATCHING: Final = (Role.GOVERNMENT, Role.CENTRAL_BANK, *_ACTORS)
# Whom each kind may name. A firm's decisions bind stocks and staff that it may not have in the fork.
_MAY: Final = {
    "silent": (_ACTORS, "the public bodies cannot be taken out"),
    "pin": ((Role.MARKET_MAKER, Role.HOUSEHOLD), "households and market makers can be pinned"),
    "strategy": (tuple(dict.fromkeys(option.role for option in OPTIONS)), "the others have one strategy alone"),
} | dict.fromkeys(SIGHT, (_WATCHING, "the statistics office sees everything"))  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A checked intervention. `name` is the instrument, `item` the product, `agents` whom it names; None lifts it."""

    kind: str
    value: float | None
    name: str = ""
    item: int = 0
    agents: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    figures: Figures = Figures.PRICES


def parse(key: str, value: str, scenario: Scenario) -> Change:
    """Check an intervention; `value` is JSON, of a strategy its name. Raises InputError that names the menu."""
    kind, _, name = key.partition(".")
    entry = next((entry for entry in MENU if entry.kind == kind), None)
    if entry is None or bool(name) != ("." in entry.key):
        raise InputError("intervention", key, f"the menu is {', '.join(entry.key for entry in MENU)}")
    if kind == "supply":
        products = [product.name for product in scenario.products]
        if name not in products:
            raise InputError("intervention", key, f"the products are {', '.join(products)}")
        return Change(kind, _number(entry, key, value), name, products.index(name))
    if kind not in _MAY:
        return Change(kind, _number(entry, key, value), name)
    figures = Figures.PRICES
    if kind in SIGHT:
        shown, _, name = name.partition(".")
        if shown.upper() not in Figures.__members__:
            raise InputError("intervention", key, f"write {kind}.prices.<agents> or {kind}.statistics.<agents>")
        figures = Figures[shown.upper()]
    agents = _agents(key, kind, name, population_of(scenario))
    number = _strategy(key, value, agents, scenario) if entry.choices else _number(entry, key, value)
    return Change(kind, number, "", 0, agents, figures)


def _number(entry: Entry, key: str, value: str) -> float | None:
    number = _decoded(value)
    if number is None and entry.liftable:
        return None
    # NaN fails the comparison; true and false are integers to Python.
    if isinstance(number, bool) or not isinstance(number, int | float) or not entry.low <= number <= entry.high:
        raise InputError(key, number, f"give {entry.values}" if entry.kind in _SWITCHES else _range(entry))
    if entry.kind in _SWITCHES and number not in (0, 1):
        raise InputError(key, number, "give 1 or 0")
    return float(number)


def _range(entry: Entry) -> str:
    return f"give a number from {entry.values}"


def _decoded(value: str) -> object:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # no JSON, digits or brackets without end
        return value


def _strategy(key: str, value: str, agents: Ints, scenario: Scenario) -> float:
    people, name = population_of(scenario), _decoded(value)
    (role, *others) = sorted({people.role_of(agent) for agent in agents.tolist()})
    if others:
        raise InputError("intervention", key, "name agents of one role: each has strategies of its own")
    known = strategies_of(role)
    if not isinstance(name, str) or name not in known:
        raise InputError(key, name, f"a {role.name.lower().replace('_', ' ')} can follow {', '.join(known)}")
    return float(known[name])


def _members(group: str, people: Population) -> range:
    return {
        "government": range(people.government, people.government + 1),
        "central_bank": range(people.central_bank, people.central_bank + 1),
        "market_makers": range(people.first_maker, people.first_firm),
        "corporations": range(people.first_firm, people.first_household),
        "households": range(people.first_household, people.size),
    }[group]


def _agents(key: str, kind: str, text: str, people: Population) -> Ints:
    """Rising ids of a group, or of a list such as 40,60-75."""
    found = set[int]()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if part in GROUPS:
            found.update(_members(part, people))
        elif first.isdecimal() and (last.isdecimal() or not dash) and int(last or first) < people.size:
            found.update(range(int(first), int(last or first) + 1))
        else:
            found.clear()
        if not found:
            said = f"name an agent from 0 to {people.size - 1}, a list such as 40,60-75, or {', '.join(GROUPS)}"
            raise InputError("intervention", key, said)
    roles, why = _MAY[kind]
    wrong = [agent for agent in sorted(found) if people.role_of(agent) not in roles]
    if wrong:
        said = ", ".join(role.name.lower().replace("_", " ") for role in roles)
        raise InputError("intervention", key, f"agent {wrong[0]} is none of {said}: {why}")
    return np.array(sorted(found), np.int64)

"""The menu of what may be changed in a village from outside, each an InterventionApplied on the run's log.

A decree holds until it is lifted with null; a shock holds until it is set again. An agent that is silenced decides and
sends nothing more; its contracts and balances stand as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from economy.errors import InputError
from economy.population import population_of
from economy.scenario import Scenario


class Decree(IntEnum):
    """What a decree takes out of the hands of government and central bank."""

    INCOME_TAX = 0
    POLICY_RATE = 1
    SPENDING = 2


@dataclass(frozen=True)
class Entry:
    """One line of the menu. `low` and `high` bound the value; `liftable` ones take null as well."""

    key: str
    low: float
    high: float
    liftable: bool
    what: str


MENU: Final = (
    Entry("income_tax", 0, 0.9, True, "decree: rate of the income tax, instead of the fiscal rule's"),
    Entry("policy_rate", 0, 1, True, "decree: policy rate per year, instead of the Taylor rule's"),
    Entry("government_spending", 0, 10, True, "decree: real government purchases, factor of the normal ones"),
    Entry("government_demand", 0, 10, False, "shock: real government purchases, factor on top of the fiscal rule"),
    Entry("supply.<product>", 0, 10, False, "shock: productivity of a product's firms, factor"),
    Entry("silent.<agent>", 0, 1, False, "1 takes an agent out (firm, market maker, household), 0 lets it back"),
)  # fmt: skip
DECREES: Final = {"income_tax": Decree.INCOME_TAX, "policy_rate": Decree.POLICY_RATE,
                  "government_spending": Decree.SPENDING}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A checked intervention: the menu's key, the product or agent that it names (else 0), the value or None."""

    key: str
    item: int
    value: float | None


def parse(key: str, value: str, scenario: Scenario) -> Change:
    """Check an intervention; `value` is JSON. Raises InputError that names the menu."""
    kind, _, name = key.partition(".")
    entry = next((entry for entry in MENU if entry.key.partition(".")[0] == kind), None)
    if entry is None or bool(name) != ("." in entry.key):
        raise InputError("intervention", key, f"the menu is {', '.join(entry.key for entry in MENU)}")
    return Change(entry.key, _item(entry, key, name, scenario), _number(entry, key, value))


def _number(entry: Entry, key: str, value: str) -> float | None:
    try:
        number = json.loads(value)
    except json.JSONDecodeError:
        number = value
    if number is None and entry.liftable:
        return None
    # NaN fails the comparison; true and false are integers to Python.
    if isinstance(number, bool) or not isinstance(number, int | float) or not entry.low <= number <= entry.high:
        also = ", or null to lift it" if entry.liftable else ""
        raise InputError(key, number, f"give a number from {entry.low} to {entry.high}{also}")
    if entry.key.startswith("silent") and number not in (0, 1):
        raise InputError(key, number, "give 1 or 0")
    return float(number)


def _item(entry: Entry, key: str, name: str, scenario: Scenario) -> int:
    if not name:
        return 0
    if entry.key.startswith("supply"):
        products = [product.name for product in scenario.products]
        if name not in products:
            raise InputError("intervention", key, f"the products are {', '.join(products)}")
        return products.index(name)
    people = population_of(scenario)
    if not name.isdigit() or not people.first_maker <= int(name) < people.size:
        said = f"name an agent from {people.first_maker} to {people.size - 1}: the public bodies cannot be taken out"
        raise InputError("intervention", key, said)
    return int(name)

"""The menu of interventions: what it refuses, and what each of its kinds does to a village."""

from __future__ import annotations

import numpy as np
import pytest

from agents.interventions import MENU
from agents.village import VillageModel
from economy import canonical
from economy import events as e
from economy.errors import InputError
from economy.events import Events, Policy, Role
from economy.indicators import WindowProjection
from economy.scenario import load_scenario
from runs.execution import Execution

CUT, LAST = 10, 79


@pytest.fixture(scope="module")
def model() -> VillageModel:
    return VillageModel(load_scenario("village", {"years": "1", "calendar.rounds": "4"}), 5)


def run(model: VillageModel, *changes: tuple[str, str]) -> dict[int, Events]:
    """Epochs of the run, whose books are held to the conservation laws."""
    again = Execution(model, 1, 2, 1, {CUT: list(changes)})
    opening = again.open()
    roles = np.array([Role[record["role"].upper()] for name, record in model.opening(1)[1] if name == "AgentFounded"])
    projection = WindowProjection(1, model.scenario, roles, model.instruments())
    projection.feed(-1, opening)
    found = {}
    for epoch, events in again.epochs():
        projection.feed(epoch, {n: rows for n, rows in events.items() if n not in canonical.ORDER_TYPES})
        found[epoch] = events
    return found


def rates(epochs: dict[int, Events], policy: Policy) -> list[int]:
    p = e.PolicyChanged
    rows = np.concatenate([events[p.name] for events in epochs.values() if p.name in events])
    return rows[rows[:, p.POLICY] == policy, p.VALUE].tolist()


def test_decrees_bind_the_rules_until_they_are_lifted(model: VillageModel) -> None:
    changed = run(model, ("income_tax", "0.55"), ("policy_rate", "0.2"), ("government_spending", "1.5"))
    assert set(rates(changed, Policy.INCOME_TAX_RATE)) == {550_000_000}
    assert set(rates(changed, Policy.POLICY_RATE)) == {200_000_000}
    assert set(rates(changed, Policy.GOVERNMENT_SPENDING)) == {1_500_000_000}
    plain = run(model)
    assert 550_000_000 not in rates(plain, Policy.INCOME_TAX_RATE)
    assert all((plain[k][name] == changed[k][name]).all() for k in range(CUT) for name in plain[k])
    lifted = run(model, ("income_tax", "null"))
    assert all(np.array_equal(plain[k][name], lifted[k][name]) for k in plain for name in plain[k])


@pytest.mark.parametrize("which", ["first_maker", "first_firm", "first_household"])
def test_who_is_taken_out_sends_nothing_and_the_books_close(model: VillageModel, which: str) -> None:
    agent = getattr(VillageModel(model.scenario, 5).new_shard(1, 0, 1, canonical.sort_flows(model.opening(1)[0])).static
                    .population, which)  # fmt: skip
    epochs = run(model, (f"silent.{agent}", "1"))
    spoke = {
        epoch
        for epoch, events in epochs.items()
        for name in (*canonical.DECISION_TYPES, *canonical.ORDER_TYPES, *canonical.FLOW_TYPES)
        if name in events and (events[name][:, canonical.AGENT] == agent).any()
    }
    assert spoke
    assert max(spoke) < CUT
    assert all(len(rows) for events in epochs.values() for rows in events.values())


def test_a_shock_to_supply_cuts_output(model: VillageModel) -> None:
    plain, shocked = run(model), run(model, ("supply.food", "0.2"))
    food = [product.name for product in model.scenario.products].index("food")
    g = e.GoodsProduced

    def output(epochs: dict[int, Events]) -> int:
        rows = np.concatenate([epochs[k][g.name] for k in epochs if k >= CUT and g.name in epochs[k]])
        return int(rows[rows[:, g.PRODUCT] == food, g.QUANTITY].sum())

    assert output(shocked) < 0.6 * output(plain)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("tax", "0.3", "supply.<product>"),
        ("supply", "1", "the menu is"),
        ("income_tax.x", "1", "the menu is"),
        ("supply.gold", "1", "grain"),
        ("silent.0", "1", "public bodies"),
        ("silent.x", "1", "name an agent"),
        ("silent.99999", "1", "name an agent"),
        ("silent.40", "0.5", "1 or 0"),
        ("income_tax", "0.95", "0 to 0.9, or null"),
        ("income_tax", "NaN", "0 to 0.9"),
        ("income_tax", "true", "0 to 0.9"),
        ("income_tax", '"high"', "0 to 0.9"),
        ("policy_rate", "-0.1", "0 to 1"),
        ("government_demand", "null", "0 to 10"),
        ("government_demand", "[1]", "0 to 10"),
    ],
)
def test_what_is_not_on_the_menu_is_refused(model: VillageModel, key: str, value: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        model.check(key, value)


def test_every_line_of_the_menu_is_taken(model: VillageModel) -> None:
    for entry in MENU:
        model.check(entry.key.replace("<product>", "food").replace("<agent>", "40"), str(entry.high))

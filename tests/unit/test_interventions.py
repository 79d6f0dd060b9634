"""The menu of interventions: what it refuses, and what each of its kinds does to a village."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from agents.interventions import MENU
from agents.pinned import recorded_of
from agents.public import Public
from agents.village import VillageModel, VillageShard
from economy.errors import InputError
from economy.indicators import WindowProjection
from economy.population import Population, population_of
from economy.records import canonical
from economy.records import events as e
from economy.records.events import Action, Events, Policy, RejectReason, Role, Strategy
from economy.scenario import load_scenario
from runs.execution import Execution
from runs.local import run_local

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
        ("silent.government", "1", "public bodies"),
        ("silent.40,x", "1", "a list such as"),
        ("silent.60-40", "1", "a list such as"),
        ("pin.10", "1", "households and market makers can be pinned"),
        ("pin.40", "2", "0 or 1"),
        ("strategy.40", '"inventory"', "a household can follow rule, chartist, buy_and_hold"),
        ("strategy.40", "1", "a household can follow"),
        ("strategy.10,40", '"rule"', "agents of one role"),
        ("strategy.0", '"rule"', "one strategy alone"),
        ("band.gold", "0.1", "or shares for all shares"),
        ("band.shares", "2", "0 to 1, or null"),
        ("delay.40", "20", "delay.prices.<agents>"),
        ("delay.rumours.40", "20", "delay.statistics.<agents>"),
        ("blank.prices.2", "1", "sees everything"),
        ("distort.prices.households", "0", "0.1 to 10"),
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
        key = entry.key.replace("<product>", "food").replace("<figures>", "prices").replace("<agents>", "40,60-75")
        model.check(key.replace("<instrument>", "shares"), entry.choices[0] if entry.choices else str(entry.high))


def ordered(rows: np.ndarray) -> np.ndarray:
    """Records in one order, whatever order they were made in."""
    return np.unique(rows, axis=0)


def same(ours: Events, theirs: Events, agents: np.ndarray) -> bool:
    """Whether agents sent the same decisions and orders, whatever the others did."""
    names = (*canonical.DECISION_TYPES, *canonical.ORDER_TYPES)
    none = np.empty((0, 4), np.int64)
    sides = [
        {name: side.get(name, none)[np.isin(side.get(name, none)[:, canonical.AGENT], agents)] for name in names}
        for side in (ours, theirs)
    ]
    return all(np.array_equal(ordered(sides[0][name]), ordered(sides[1][name])) for name in names)


def equal(ours: dict[int, Events], theirs: dict[int, Events]) -> bool:
    return all(
        ours[k].keys() == theirs[k].keys()
        and all(np.array_equal(ordered(rows), ordered(theirs[k][name])) for name, rows in ours[k].items())
        for k in ours
    )


@pytest.fixture(scope="module")
def plain(model: VillageModel) -> dict[int, Events]:
    return run(model)


@pytest.fixture(scope="module")
def population(model: VillageModel) -> Population:
    return population_of(model.scenario)


@pytest.mark.parametrize(
    "change",
    [
        ("pin.households,market_makers", "1"),
        ("strategy.households", '"rule"'),
        ("band.shares", "null"),
        ("delay.prices.households", "0"),
        ("distort.statistics.corporations", "1"),
    ],
)
def test_a_change_that_changes_nothing_shows_in_no_record(
    model: VillageModel, plain: dict[int, Events], change: tuple[str, str]
) -> None:
    assert equal(run(model, change), plain)


def test_the_pinned_do_what_they_did_while_others_react(
    model: VillageModel, plain: dict[int, Events], population: Population
) -> None:
    p = population
    pinned = np.array([p.first_maker, *range(p.first_household, p.first_household + 200)])
    free = np.arange(p.first_household + 200, p.size)
    shocked = ("supply.food", "0.5")
    reacted = run(model, shocked)
    assert not any(same(reacted[k], plain[k], pinned) for k in range(60, 80) if k % 5 in (1, 2))
    held = run(model, shocked, (f"pin.{p.first_maker},{pinned[1]}-{pinned[-1]}", "1"))
    decided = e.AgentDecided.name
    for k in range(CUT, 80):
        ours, theirs = (
            rows[np.isin(rows[:, canonical.AGENT], pinned)] for rows in (held[k][decided], plain[k][decided])
        )
        assert np.array_equal(ordered(ours), ordered(theirs))
    o = e.OrderSubmitted
    sent, known = (
        {
            tuple(row)
            for k in range(CUT, 80)
            for row in epochs[k].get(o.name, np.empty((0, o.width))).tolist()
            if row[o.AGENT] in pinned
        }
        for epochs in (held, plain)
    )
    # Nothing that was not recorded; what is left out could not be backed.
    assert sent <= known
    assert len(sent) > 0.9 * len(known)
    assert not any(same(held[k], plain[k], free) for k in range(60, 80) if k % 5 in (1, 2))


def test_what_was_recorded_is_sent_as_a_record_of_the_fork(model: VillageModel, plain: dict[int, Events]) -> None:
    told = {CUT: [("pin.households,market_makers", "1")]}
    parent = Execution(model, 1, 2, 1)
    parent.open()
    for _ in parent.epochs(CUT - 1):
        pass
    parent.interventions = told
    everybody = model.pinned(told[CUT])
    parent.change(CUT, canonical.merge([recorded_of(plain[k], everybody) for k in range(CUT, 80)]))
    for number, member in enumerate(parent.members):
        moved = model.load_shard(9, number, 2, member.dump())
        sent = moved.step(CUT + 1, told[CUT])
        assert sent
        assert {run for rows in sent.values() for run in rows[:, 0].tolist()} == {9}


@pytest.mark.parametrize(
    ("change", "role"),
    [
        (("strategy.corporations", '"full_cost"'), Role.CORPORATION),
        (("strategy.households", '"chartist"'), Role.HOUSEHOLD),
        (("strategy.market_makers", '"inventory"'), Role.MARKET_MAKER),
        (("strategy.central_bank", '"inflation_targeting"'), Role.CENTRAL_BANK),
    ],
)
def test_a_strategy_shows_in_every_decision_of_those_who_follow_it(
    model: VillageModel, plain: dict[int, Events], change: tuple[str, str], role: Role
) -> None:
    d, changed = e.AgentDecided, run(model, change)
    named = Strategy[change[1].strip('"').upper()]
    for k in range(80):
        rows = changed[k][d.name]
        follows = rows[:, d.ROLE] == role
        assert set(rows[follows, d.STRATEGY].tolist()) <= {named if k >= CUT else Strategy.RULE}
        assert set(rows[~follows, d.STRATEGY].tolist()) <= {Strategy.RULE}
    assert not equal(changed, plain)


def test_full_cost_keeps_the_mark_up_and_who_holds_does_not_trade(model: VillageModel, population: Population) -> None:
    p, d = population, e.AgentDecided
    changed = run(model, ("strategy.corporations", '"full_cost"'), ("strategy.households", '"buy_and_hold"'))
    rows = np.concatenate([changed[k][d.name] for k in range(CUT, 80)])
    priced = rows[rows[:, d.ACTION] == Action.PRICE]
    normal = round(VillageModel(model.scenario, 5).new_shard(1, 0, 1, canonical.sort_flows(model.opening(1)[0]))
                   .static.markup * 10_000)  # fmt: skip
    assert set(priced[:, d.INPUT_3].tolist()) == {normal}
    assert not ((rows[:, d.ACTION] == Action.TRADE_SHARES) & (rows[:, d.AGENT] >= p.first_household)).any()


def test_a_band_around_the_last_price_binds_from_its_tick_on(model: VillageModel, plain: dict[int, Events]) -> None:
    food = next(i for i in model.instruments() if i.symbol == "food").instrument
    changed, r, o, f = run(model, ("band.food", "0.005")), e.OrderRejected, e.OrderSubmitted, e.PriceFixed
    fixed = np.concatenate([plain[k][f.name] for k in range(CUT) if f.name in plain[k]])
    centre = int(fixed[fixed[:, f.INSTRUMENT] == food][-1, f.PRICE])
    refused = 0
    for k in range(CUT, 80):
        rows = changed[k].get(r.name, np.empty((0, r.width), np.int64))
        outside = {tuple(row) for row in rows[rows[:, r.REASON] == RejectReason.OUTSIDE_PRICE_BAND][:, [r.AGENT, r.N]]}
        orders = changed[k].get(o.name, np.empty((0, o.width), np.int64))
        orders = orders[orders[:, o.INSTRUMENT] == food]
        far = orders[np.abs(orders[:, o.PRICE] - centre) > centre * 0.005]
        assert outside == {tuple(row) for row in far[:, [o.AGENT, o.N]]}
        refused += len(outside)
    assert refused
    assert not any(r.name in plain[k] for k in plain)


def test_a_breaker_can_be_imposed(model: VillageModel) -> None:
    changed = run(model, ("breaker.shares", "0.01"))
    halts = [k for k in changed if e.TradingHalted.name in changed[k]]
    assert halts
    assert min(halts) >= CUT


def test_news_that_is_late_stops_and_goes_on_and_blank_news_does_not(
    model: VillageModel, population: Population
) -> None:
    """What agents are shown, held to what was public at that cut."""
    p, late = population, 7
    seen = Execution(model, interventions={CUT: [
        (f"delay.prices.{p.first_household}", str(late * model.epoch_ticks - 3)),  # rounded up to whole cuts
        (f"blank.statistics.{p.first_household + 1}", "1"),
        (f"distort.prices.{p.first_household + 2}", "1.5"),
    ]})  # fmt: skip
    seen.open()
    ids = np.arange(p.first_household, p.first_household + 3)
    known: list[Public] = []
    for k in range(30):
        seen.advance()
        (shard,) = seen.members
        assert isinstance(shard, VillageShard)
        known.append(deepcopy(shard.public))
        if k < CUT:
            continue
        views = {
            i: view for mask, view in shard.sight.views(shard.public, ids, k) for i in np.flatnonzero(mask).tolist()
        }
        before = known[max(CUT - 1, k - late)]
        assert np.array_equal(views[0].value, before.value)
        assert np.array_equal(views[0].ask, before.ask)
        assert np.array_equal(views[0].unemployment, known[k].unemployment)
        assert np.array_equal(views[1].unemployment, known[CUT - 1].unemployment)
        assert np.array_equal(views[1].value, known[k].value)
        assert np.array_equal(views[2].value, np.rint(known[k].value * 1.5))
    assert len({known[k].value.tobytes() for k in range(30)}) > 3


@pytest.mark.parametrize(
    "changes",
    [
        [("blank.prices.10,12,60-90", "1"), ("distort.statistics.13,55-70,3", "2")],
        [("pin.market_makers,60-80", "1"), ("band.shares", "0.02"), ("delay.prices.households", "100")],
        [("strategy.60-300", '"chartist"'), ("strategy.10-20", '"full_cost"')],
    ],
)
def test_no_shard_partition_or_snapshot_shows_in_a_change(model: VillageModel, changes: list[tuple[str, str]]) -> None:
    told = {CUT: changes}
    one = run_local(model, interventions=told)
    assert one.digest == run_local(model, shards=3, partitions=2, interventions=told, restore_every=9).digest
    assert one.digest != run_local(model).digest

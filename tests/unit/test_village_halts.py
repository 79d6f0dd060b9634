"""A village whose shares open by a call, halt and resume: the agents live with it, and it comes out the same."""

from __future__ import annotations

from collections import Counter

import pytest

from agents.village import VillageModel
from economy.records import events as e
from economy.records.events import Events
from economy.scenario import load_scenario
from runs.local import RunResult, run_local

GUARDED = {
    "years": "1", "population.households": "60", "stocks.activity": "0.5", "stocks.band_bp": "2500",
    "stocks.breaker_bp": "150", "stocks.halt_ticks": "95", "stocks.open_ticks": "30",
}  # fmt: skip


def village() -> VillageModel:
    return VillageModel(load_scenario("village", GUARDED), 3)


@pytest.fixture(scope="module")
def plain() -> RunResult:
    return run_local(village())


@pytest.mark.parametrize(("shards", "partitions", "restore_every"), [(3, 2, 0), (2, 1, 3)])
def test_halts_do_not_tell_shards_partitions_or_restores(
    plain: RunResult, shards: int, partitions: int, restore_every: int
) -> None:
    other = run_local(village(), run=8, shards=shards, partitions=partitions, restore_every=restore_every)
    assert (other.digest, other.orders, other.trades) == (plain.digest, plain.orders, plain.trades)


def test_auctions_under_pressure_tell_them_neither() -> None:
    model = VillageModel(load_scenario("village", GUARDED | {"stocks.auction_pressure": "true"}), 3)
    rules = {(i.instrument_class == e.InstrumentClass.EQUITY, i.auction_pressure) for i in model.instruments()}
    assert rules == {(True, 1), (False, 0)}
    whole, spread = run_local(model), run_local(model, run=8, shards=3, partitions=2, restore_every=3)
    assert (whole.digest, whole.trades) == (spread.digest, spread.trades)


def test_shares_open_halt_and_resume() -> None:
    """Most orders do not wait for an auction, so calls end at the midpoint of the quotes that the makers left there."""
    seen: Counter[str] = Counter()
    halted: set[int] = set()
    model = village()

    def watch(epoch: int, events: Events) -> None:
        seen.update({name: len(rows) for name, rows in events.items()})
        for kind in (e.TradingHalted, e.TradingResumed):
            for row in events.get(kind.name, ()):
                (halted.add if kind is e.TradingHalted else halted.discard)(int(row[kind.INSTRUMENT]))

    run_local(model, on_epoch=watch)
    resumed = seen["TradingResumed"] - model.scenario.population.listed  # each share opens once
    assert seen["TradingHalted"] == resumed + len(halted) > 3
    assert seen["PriceBandChanged"] > 3

"""The world at any cut, with checkpoints and without, against what the agents and markets themselves hold."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from agents.registry import VILLAGE
from agents.village import VillageModel
from economy.errors import InputError
from economy.records import events as e
from economy.scenario import load_scenario
from economy.world import NOBODY, World
from infra.broker import Broker
from runs.checkpoint import Checkpoints, check_matched, execution_at, world_at
from runs.derived import read_derived
from runs.execution import part_of
from runs.show import provenance, world_json
from schemas.log.clocklog import ClockLog
from schemas.log.history import Segment, read_history
from tests.integration.written import Written

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def segments(broker: Broker) -> tuple[Segment, ...]:
    model = VillageModel(
        load_scenario("village", {"years": "1", "calendar.rounds": "4", "population.households": "120"}), 4
    )
    Written(broker.bootstrap, "shown", model, VILLAGE)
    return read_history(broker.bootstrap, "shown", 7)


def world(broker: Broker, segments: tuple[Segment, ...], epoch: int, kept: Checkpoints) -> World:
    return world_at(broker.bootstrap, "shown", segments, epoch, kept)[0]


def same(a: World, b: World) -> bool:
    ours, theirs = a.dump(), b.dump()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_cut_is_the_same_from_the_log_and_from_checkpoints(
    broker: Broker, segments: tuple[Segment, ...], tmp_path: Path
) -> None:
    kept = Checkpoints.of(tmp_path, "shown", segments[0].started, every=10)
    none = Checkpoints.of(tmp_path / "none", "shown", segments[0].started, every=1000)
    plain = {epoch: world(broker, segments, epoch, none) for epoch in (-1, 12, 46, 79)}
    assert not (tmp_path / "none").exists()
    world(broker, segments, 79, kept)
    files = sorted(path.name for path in kept.folder.iterdir())
    assert len(files) == 8
    assert all(same(world(broker, segments, epoch, kept), found) for epoch, found in plain.items())
    # A damaged file and one of another run with the same number do not count.
    (kept.folder / "world-39.npz").write_bytes(b"PK damaged")
    Checkpoints(kept.folder, "another", 10).save("world", 45, plain[12].dump())
    assert same(world(broker, segments, 46, kept), plain[46])
    clock = ClockLog(7, segments[0].started | {"scenario": "{}"})
    strange = Segment(clock, -1, 79, {}, {})
    with pytest.raises(InputError, match="village"):
        world_at(broker.bootstrap, "shown", (strange,), 3, kept)


def test_the_world_is_what_agents_markets_and_the_projection_hold(
    broker: Broker, segments: tuple[Segment, ...], tmp_path: Path
) -> None:
    kept = Checkpoints.of(tmp_path, "shown", segments[0].started, every=20)
    for epoch in (27, 39):  # asks stand in the books in the middle of a round
        found = world(broker, segments, epoch, kept)
        again, events = execution_at(segments, epoch, kept)
        check_matched(broker.bootstrap, "shown", segments[0], epoch, events)
        state = again.dump()
        shard = part_of(state, "shard", 0)
        assert np.array_equal(found.ledger.cash, state["shard/1/bank.deposits"])
        first = len(found.roles) - len(shard["public.employer"])
        firms = int(np.flatnonzero(found.roles == e.Role.CORPORATION)[0])
        employer = np.where(found.employer[first:] == NOBODY, -1, found.employer[first:] - firms)
        assert np.array_equal(employer, shard["public.employer"])
        for instrument in range(len(found.prices)):
            bids, asks = again.markets[instrument % 2].depth(instrument, 1000)
            ours = found.book(instrument)
            assert [row[:2] for row in bids.tolist()] == [list(level) for level in ours[0]]
            assert [row[:2] for row in asks.tolist()] == [list(level) for level in ours[1]]
    recorded = read_derived(broker.bootstrap, "shown", 7).balances(1)
    rows = world(broker, segments, 39, kept).ledger.balances(7, 1)
    assert {tuple(row[2:5]): row[5] for row in rows.tolist()} == recorded
    # The execution is the same from a checkpoint as from the opening.
    bare = Checkpoints.of(tmp_path / "none", "shown", segments[0].started)
    (fresh, told), (short, heard) = (execution_at(segments, 45, each) for each in (bare, kept))
    assert told.keys() == heard.keys()
    assert all(np.array_equal(told[name], heard[name]) for name in told)
    whole, resumed = fresh.dump(), short.dump()
    named = [name for name in whole if not name.startswith("market/")]  # a book's tree has luck of its own
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in named)


def test_what_is_shown(broker: Broker, segments: tuple[Segment, ...], tmp_path: Path) -> None:
    kept = Checkpoints.of(tmp_path, "shown", segments[0].started)
    found, founded = world_at(broker.bootstrap, "shown", segments, 27, kept)
    told = world_json(found, founded, 7, 560)
    assert sum(Decimal(b["quantity"]) for b in told["balances"] if b["account"] == "cash") == 0
    decimals = {"cash": 8, "bonds": 8, "goods": 2, "capital": 2, "shares": 0}
    for balance in told["balances"]:
        assert Decimal(balance["quantity"]) == Decimal(balance["quantity_raw"]).scaleb(-decimals[balance["account"]])
    offered = next(book for book in told["books"] if book["asks"])
    assert Decimal(offered["price"]) == Decimal(offered["price_raw"]).scaleb(-4)
    best = offered["asks"][0]
    assert Decimal(best["price"]) == Decimal(best["price_raw"]).scaleb(-4)
    assert Decimal(best["quantity"]) == Decimal(best["quantity_raw"]).scaleb(-2)
    assert {contract["kind"] for contract in told["contracts"]} == {"employment"}
    comes_from = provenance(segments)
    assert (comes_from["seed"], comes_from["parent"], comes_from["computable_here"]) == (4, None, True)
    assert comes_from["environment"]["lock"]

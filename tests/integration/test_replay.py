"""The three proofs of a replay on real logs: honest ones, altered ones, and ones that cannot be computed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agents.registry import VILLAGE
from agents.village import VillageModel
from economy.errors import InputError, UnknownRunError
from economy.records import events as e
from economy.records.events import Events
from economy.scenario import RULES_VERSION, load_scenario
from infra.broker import Broker
from runs.local import run_local
from runs.protocol import places
from runs.replay import Replay, Status, replay
from schemas.catalogue import BALANCES, CLOCK, INDICATORS, ORDERS
from schemas.codec import decode_record, encode_record
from schemas.log import topics
from schemas.log.reader import end_offsets, read_range
from schemas.log.writer import LogWriter
from tests.integration.written import Written

pytestmark = pytest.mark.integration
LAST, EPOCH = 79, 17


def village() -> VillageModel:
    return VillageModel(
        load_scenario("village", {"years": "1", "calendar.rounds": "4", "population.households": "120"}), 3
    )


@pytest.fixture(scope="module")
def honest(broker: Broker) -> Written:
    return Written(broker.bootstrap, "replayed", village(), VILLAGE)


@pytest.fixture
def write(broker: Broker, namespace: str) -> Callable[..., Replay]:
    def written(**options: Any) -> Replay:
        Written(broker.bootstrap, namespace, village(), VILLAGE, **options)
        return replay(broker.bootstrap, namespace, 7)

    return written


def through(found: Replay) -> list[int]:
    return [answer.through for answer in found.answers.values()]


def test_an_honest_log_is_proven_three_times(broker: Broker, honest: Written) -> None:
    heard: list[tuple[int, int]] = []
    found = replay(broker.bootstrap, "replayed", 7, told=lambda done, total: heard.append((done, total)))
    assert found.proven, found
    assert through(found) == [LAST] * 3
    assert [answer.status for answer in found.answers.values()] == [Status.IDENTICAL] * 3
    assert found.verdict.digest == run_local(village()).digest
    assert heard[-1][0] == heard[-1][1] > 10_000


def test_up_to_a_tick(broker: Broker, honest: Written) -> None:
    found = replay(broker.bootstrap, "replayed", 7, until_tick=400)
    assert found.proven, found
    assert through(found) == [19] * 3
    with pytest.raises(InputError, match="give 400 or 420"):
        replay(broker.bootstrap, "replayed", 7, until_tick=410)
    with pytest.raises(InputError, match="0 to 1600"):
        replay(broker.bootstrap, "replayed", 7, until_tick=1620)
    with pytest.raises(UnknownRunError):
        replay(broker.bootstrap, "replayed", 8)


def alter(name: str, column: int, by: int) -> Callable[[int, Events], Events]:
    def altered(epoch: int, events: Events) -> Events:
        if epoch != EPOCH or name not in events:
            return events
        rows = events[name].copy()
        rows[3, column] += by
        return {**events, name: rows}

    return altered


def test_one_altered_decision_that_the_writer_hashed(write: Callable[..., Replay]) -> None:
    """Whoever rewrites all of a log leaves its chains whole: only computing it again shows the one altered choice."""
    found = write(alter=alter("AgentDecided", e.AgentDecided.CHOICE, 7))
    assert found.integrity.status == found.state.status == Status.IDENTICAL
    execution = found.execution
    assert (execution.status, execution.through) == (Status.DIVERGED, EPOCH - 1)
    assert execution.recorded is not None
    assert execution.computed is not None
    assert execution.recorded["event"] == "AgentDecided"
    assert execution.recorded["choice"] == execution.computed["choice"] + 7
    assert {**execution.recorded, "choice": 0} == {**execution.computed, "choice": 0}


def test_one_altered_payment_breaks_state_and_re_execution(write: Callable[..., Replay]) -> None:
    def overpaid(epoch: int, events: Events) -> Events:
        if epoch != 30:
            return events
        rows = events["MoneyTransferred"].copy()
        rows[0, e.MoneyTransferred.AMOUNT] += 10**17  # more than anybody has
        return {**events, "MoneyTransferred": rows}

    found = write(alter=overpaid)
    assert found.integrity.status == Status.IDENTICAL
    assert (found.state.status, found.state.through) == (Status.DIVERGED, 29)
    assert (found.execution.status, found.execution.through) == (Status.DIVERGED, 29)


@pytest.mark.parametrize("indicator", ["gini_wealth", "gdp_production"])
def test_one_altered_figure_is_found_by_the_state(write: Callable[..., Replay], indicator: str) -> None:
    found = write(figures=lambda window, name, value: value + (name == indicator and window == 1))
    assert found.integrity.status == found.execution.status == Status.IDENTICAL
    assert (found.state.status, found.state.through) == (Status.DIVERGED, 19)  # a window has twenty epochs
    assert indicator in found.state.reason


def test_other_rules_or_another_lock_are_not_computed_again(
    broker: Broker, honest: Written, write: Callable[..., Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write(rules_version=RULES_VERSION + 1)
    assert (found.execution.status, found.integrity.status) == (Status.NOT_DONE, Status.IDENTICAL)
    assert "rules version" in found.execution.reason
    assert found.state.through == LAST
    monkeypatch.setattr("runs.protocol.platform.machine", lambda: "pdp11")
    assert "pdp11" in replay(broker.bootstrap, "replayed", 7).execution.reason


def test_a_record_exchanged_on_the_log_is_named_on_both_sides(broker: Broker, honest: Written, namespace: str) -> None:
    """The log is copied record by record into another namespace, but for the size of one order."""
    topics.create(broker.bootstrap, namespace, 2, 2)
    writer = LogWriter(broker.bootstrap, namespace)
    changed = None
    for place in [*places(2, 2), (CLOCK, 0), (BALANCES, 0), (INDICATORS, 0)]:
        for chunk in read_range(
            broker.bootstrap, "replayed", {place: 0}, end_offsets(broker.bootstrap, "replayed", [place])
        ):
            for value in chunk.values:
                name, record = decode_record(value)
                if changed is None and name == "OrderSubmitted" and record["tick"] >= EPOCH * 20:
                    changed = record
                    record = record | {"quantity": record["quantity"] + 1}
                writer.send(*place, encode_record(name, record))
    writer.flush()
    assert changed is not None
    found = replay(broker.bootstrap, namespace, 7)
    epoch = changed["tick"] // 20
    assert found.integrity.status == found.execution.status == Status.DIVERGED
    assert found.integrity.through == found.execution.through == epoch - 1
    assert found.execution.recorded is not None
    assert found.execution.computed is not None
    for side, quantity in ((found.execution.recorded, changed["quantity"] + 1),
                           (found.execution.computed, changed["quantity"])):  # fmt: skip
        assert (side["agent"], side["n"], side["quantity"]) == (changed["agent"], changed["n"], quantity)
    assert ORDERS in found.integrity.reason

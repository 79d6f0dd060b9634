"""Whatever stands on the log, a process that reads it goes on or says why not: it never hangs or fails for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from agents.interventions import parse
from economy.errors import InputError, ProtocolError, ScenarioError
from economy.scenario import load_scenario, scenario_from_json
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log import snapshots
from schemas.log.clocklog import ClockLog
from schemas.log.founding import village_of
from schemas.log.history import history
from schemas.log.reader import check_ends
from streams.runrows import EMPTY, apply

VILLAGE = load_scenario("village")
OFFSETS = {DECISIONS: [0, 0], FLOWS: [0, 0], ORDERS: [0], TRADES: [0]}
STARTED = {
    "run": 7, "scenario": "{}", "shards": 2, "partitions": 1, "flow_partitions": 2, "epoch_ticks": 20, "last_epoch": 9,
    "start_offsets": OFFSETS, "parent": 0, "parent_epoch": -1, "parent_offsets": {}, "wall_time": 1_700_000_000_000,
}  # fmt: skip
FORGED: dict[str, Mapping[str, Any]] = {
    "no offsets": {"start_offsets": {}},
    "a topic is missing": {"start_offsets": {k: v for k, v in OFFSETS.items() if k != FLOWS}},
    "fewer partitions than it says": {"partitions": 2},
    "more partitions than it says": {"flow_partitions": 1},
    "a negative offset": {"start_offsets": OFFSETS | {TRADES: [-1]}},
    "no shards": {"shards": 0},
    "no partitions": {"partitions": 0, "start_offsets": OFFSETS | {ORDERS: [], TRADES: []}},
    "no ticks": {"epoch_ticks": 0},
    "an end before its start": {"last_epoch": -2},
    "a fork that leaves nowhere": {"parent": 3},
    "its own parent": {"parent": 7, "parent_offsets": OFFSETS},
}


def log_of(**changed: Any) -> ClockLog:
    log = ClockLog(changed.get("run", 7))
    log.apply("RunStarted", STARTED | changed)
    return log


@pytest.mark.parametrize("name", FORGED)
def test_a_start_that_does_not_say_where_the_run_is(name: str) -> None:
    forged = log_of(**FORGED[name])
    with pytest.raises(ProtocolError, match="the record of run 7 does not say where it is"):
        history({7: forged}, 7)
    child = log_of(run=9, parent=7, parent_offsets=OFFSETS)
    with pytest.raises(ProtocolError, match="the record of run 7 does not say where it is"):
        history({7: forged, 9: child}, 9)
    assert history({7: log_of()}, 7)[0].run == 7


def test_a_record_of_another_topic_is_not_the_clocks() -> None:
    log = log_of()
    log.apply("WindowMeasured", {"run": 7, "window": 0, "indicator": "x", "item": 0})
    log.apply("AgentFounded", {"run": 7, "tick": -1})
    assert log == log_of()


@pytest.mark.parametrize("when", [-1, 2**62, -(2**63)])
def test_a_date_that_no_column_holds(when: int) -> None:
    known = dict.fromkeys(("seed", "rules_version", "digest_version"), 1) | {"environment": {}, "scenario_name": "x"}
    assert 1970 <= apply(dict(EMPTY), "RunStarted", STARTED | known | {"wall_time": when})["started_at"].year <= 2100


def test_forks_in_a_circle_have_no_history() -> None:
    parents = {7: 8, 8: 9, 9: 7}
    clocks = {run: log_of(run=run, parent=parent, parent_offsets=OFFSETS) for run, parent in parents.items()}
    with pytest.raises(ProtocolError, match="run 7 is a fork of itself by way of run 9"):
        history(clocks, 7)
    assert [segment.run for segment in history(clocks | {9: log_of(run=9)}, 7)] == [9, 8, 7]


@pytest.mark.parametrize(
    "text", ["", "null", "7", "[]", "{", "[" * 200_000, '{"years": 1}', "open('x')", '{"a":' * 90_000]
)
def test_a_text_that_is_no_scenario(text: str) -> None:
    with pytest.raises(ScenarioError):
        scenario_from_json(text)
    assert village_of(log_of(scenario=text)) is None


@pytest.mark.parametrize("value", ["[" * 200_000, "9" * 5_000, "{", "", "null null", "NaN", '"x"'], ids=range(7))
@pytest.mark.parametrize("key", ["income_tax", "pin.households", "delay.prices.1-5", "nonsense", ""])
def test_a_change_that_is_none_is_refused(key: str, value: str) -> None:
    with pytest.raises(InputError):
        parse(key, value, VILLAGE)


def packed(version: int, state: snapshots.State) -> list[bytes]:
    return [value for _, value in snapshots.pack(1, version, state)]


def load(state: snapshots.State) -> int:
    return int(state["cut"][0]) + len(state["rows"][:, 1])


@pytest.mark.parametrize(
    "worse",
    [
        [None], [b""], [b"\0" * 23], [b"\xff" * 24],
        [snapshots._HEAD.pack(1, 9, 0, 1)], [snapshots._HEAD.pack(1, 9, 0, 1) + b"no frame"],
        [snapshots._HEAD.pack(1, 9, 5, 1) + b"x"], [snapshots._HEAD.pack(1, 9, 0, 0)],
        packed(9, {}), packed(9, {"cut": np.array([3])}), packed(9, {"cut": np.empty(0), "rows": np.ones((2, 2))}),
        packed(9, {"cut": np.array([3]), "rows": np.ones(3)}),
        packed(9, {"cut": np.array(["x"]), "rows": np.ones((1, 2))}),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_snapshot_is_passed_over(worse: list[bytes | None]) -> None:
    sound: list[bytes | None] = [*packed(4, {"cut": np.array([40]), "rows": np.ones((2, 2))})]
    assert snapshots.loaded(sound + worse, 1, load) == (4, 42)
    assert snapshots.loaded(worse, 1, load) is None


def test_an_offset_behind_the_end_of_the_log_is_not_waited_for() -> None:
    check_ends({(FLOWS, 0): 9}, {(FLOWS, 0): 9})
    with pytest.raises(ProtocolError, match=r"economy\.flows\.v1\[0\] ends at offset 9, but a record names offset 10"):
        check_ends({(FLOWS, 0): 9}, {(FLOWS, 0): 10})

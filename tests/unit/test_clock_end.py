"""How a clock closes a run: it waits for the last markers, and neither for ever nor for a run that is aborted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from economy.errors import ProtocolError
from runs import clock
from runs.clock import Clock, ClockConfig
from runs.protocol import RunSpec
from schemas.catalogue import CLOCK, DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.clocklog import ClockLog

STARTED = {"partitions": 1, "flow_partitions": 1, "shards": 2, "start_offsets": {}}
FAMILIES = (DECISIONS, FLOWS, ORDERS, TRADES)


class Silent:
    """A log of which nothing comes, where a Follower or a LogReader is expected."""

    position: ClassVar[dict[Any, int]] = {}
    comes: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None: ...

    def end_offsets(self, places: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(places, 5)

    def poll(self, _: float) -> list[Any]:
        Silent.comes()
        return []

    def send_rows(self, name: str, *_: Any) -> None:
        raise AssertionError(f"{name} of a run that is not finished")

    send_record = send_rows


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that has granted all epochs."""
    monkeypatch.setattr(clock, "LogWriter", Silent)
    monkeypatch.setattr(clock, "LogReader", Silent)
    monkeypatch.setattr(clock, "end_offsets", lambda *_: {})
    monkeypatch.setattr(clock, "read_clock", lambda *_: ClockLog(7, started=STARTED))
    monkeypatch.setattr(Silent, "position", {(family, 0): 5 for family in FAMILIES} | {(CLOCK, 0): 5})
    made = Clock(ClockConfig("nowhere", "n"), RunSpec(7, "m", "{}", 1, 2, 1, 1))
    made.final = {(family, 0): 0 for family in FAMILIES}
    made.reader = Silent()  # type: ignore[assignment]
    return made


def test_markers_that_do_not_come_are_named(waiting: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_ENDING_SECONDS", 0.0)
    with pytest.raises(ProtocolError, match=r"run 7 cannot be closed: .*\('agents.decisions.v1', 0, 0\).*see the logs"):
        waiting._finish(STARTED)


def test_a_run_that_is_aborted_meanwhile_is_not_closed(waiting: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Silent, "comes", staticmethod(lambda: setattr(waiting.state, "aborted", "by somebody")))
    waiting._finish(STARTED)


def test_a_clock_that_is_told_to_stop_closes_nothing(waiting: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Silent, "comes", staticmethod(waiting.stop))
    waiting._finish(STARTED)

"""One run's records never end the projection of the others; what befalls the log itself does, to be started again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from economy.errors import AccountingError, ProtocolError, SetupError
from economy.scenario import load_scenario
from schemas.log.clocklog import ClockLog
from schemas.log.writer import WriteError
from streams import projection
from streams.projection import ProjectionService, Tail
from streams.share import RunShare

_GIVEN_UP = [
    IndexError("x"),
    KeyError("x"),
    ValueError("x"),
    ZeroDivisionError(),
    ProtocolError("x"),
    AccountingError("x"),
]
_ENDS = [OSError("x"), MemoryError(), WriteError("x"), SetupError("x"), RuntimeError("x")]


@pytest.mark.parametrize("error", [*_GIVEN_UP, *_ENDS], ids=repr)
def test_what_ends_the_process(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    ended: list[Exception] = []

    async def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(projection, "end", ended.append)
    monkeypatch.setattr(ProjectionService, "_follow", fails)
    service = object.__new__(ProjectionService)
    asyncio.run(ProjectionService.follow(service, ClockLog(7), load_scenario("village"), Tail()))
    assert ended == ([error] if error in _ENDS else [])


def test_a_service_follows_each_new_run_of_its_share_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "LogWriter", lambda *_: None)
    service = ProjectionService("127.0.0.1:1", "n", RunShare(1, 2))
    service.clocks = {run: ClockLog(run) for run in range(10, 16)}
    for run in range(10, 14):
        service.clocks[run].started = {"run": run}
    assert service.new_runs() == [11, 13]
    assert service.new_runs() == []
    service.clocks[14].started, service.clocks[15].started = {"run": 14}, {"run": 15}
    assert service.new_runs() == [15]

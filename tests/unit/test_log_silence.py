"""A log that has more to tell and does not is no endless wait."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from economy.errors import ProtocolError, SetupError
from runs import portable, unmarked
from runs.checkpoint import check_matched
from runs.export_events import instruments_of
from schemas.catalogue import FLOWS, ORDERS
from schemas.log import reader
from schemas.log.clocklog import ClockLog
from schemas.log.founding import founding
from schemas.log.history import Segment
from streams import restore

PLACE = (ORDERS, 2)
WHERE = ("127.0.0.1:1", "n")
STARTED = {"run": 7, "partitions": 1, "flow_partitions": 1, "start_offsets": {FLOWS: [0], ORDERS: [0]}}


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(reader.LogReader, "poll_messages", lambda *_: [])


def ends_at(monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    monkeypatch.setattr(reader.LogReader, "end_offsets", lambda *_: {PLACE: offset})


def test_a_range_of_which_nothing_comes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ends_at(monkeypatch, 9)
    with pytest.raises(SetupError, match=r"n\..*\[2\] ends before offset 9: is the broker up"):
        list(reader.read_range("127.0.0.1:1", "n", {PLACE: 4}, {PLACE: 9}))


def test_a_range_that_the_log_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    ends_at(monkeypatch, 8)
    with pytest.raises(ProtocolError, match=r"ends at offset 8, but a record names offset 9"):
        list(reader.read_range("127.0.0.1:1", "n", {PLACE: 4}, {PLACE: 9}))


def test_a_range_beside_a_partition_that_goes_on_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read to its end already is held, and what still comes of it is no sign of the others."""
    lively, polls = (ORDERS, 1), itertools.count(1)

    def poll_placed(self: reader.LogReader, _: float) -> dict[reader.Place, list[Any]]:
        assert next(polls) < 1000, "it waits without end"
        time.sleep(0.001)
        offset = self.position[lively]
        self.position[lively] += 1
        return {lively: [SimpleNamespace(offset=lambda: offset)]}

    monkeypatch.setattr(reader, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(reader.LogReader, "poll_placed", poll_placed)
    read = reader.message_range("127.0.0.1:1", "n", {PLACE: 4, lively: 0}, {PLACE: 9, lively: 3})
    taken = []
    with pytest.raises(SetupError, match=r"n\..*\[2\] ends before offset 9: is the broker up"):  # noqa: PT012
        for _, messages in read:
            taken += [message.offset() for message in messages]
    assert taken == [0, 1, 2]


def test_a_range_of_a_broker_that_is_away() -> None:
    with pytest.raises(SetupError, match=r"cannot be read.*is the broker up"):
        list(reader.read_range("127.0.0.1:1", "n", {PLACE: 4}, {PLACE: 9}))


class Mute:
    """A consumer of aiokafka that is given nothing from offset 4 on, where the log has records."""

    async def beginning_offsets(self, places: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(places, 0)

    async def end_offsets(self, places: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(places, 9)

    async def position(self, place: Any) -> int:
        return 4

    async def getmany(self, *places: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        return {}

    def seek(self, place: Any, offset: int) -> None: ...

    def resume(self, place: Any) -> None: ...


async def read_back() -> None:
    readback = restore.Readback("127.0.0.1:1", "n.orders", "n.trades", "n.books", [2])
    await readback._consumer.stop()
    readback._consumer = Mute()
    await readback.restored(2)


def test_a_partition_of_which_nothing_can_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "SILENCE_SECONDS", 0.0)
    with pytest.raises(SetupError, match=r"n\.books\[2\] ends at 4, before offset 9: is the broker up"):
        asyncio.run(read_back())


class Extent(Segment):
    """A run whose records are known to be there."""

    def extent(self, *_: Any) -> Any:
        return {PLACE: 0}, {PLACE: 9}


@pytest.mark.parametrize(
    "read",
    [
        lambda run: list(portable.read_own(*WHERE, 7, PLACE, 0, 9)),
        lambda run: list(unmarked._snapshots(*WHERE, 7, 1)),
        lambda run: founding(*WHERE, STARTED),
        lambda run: instruments_of(*WHERE, run),
        lambda run: check_matched(*WHERE, run, 3, {}),
    ],
    ids=["a run for a file", "snapshots", "who was founded", "what was listed", "what was matched"],
)
def test_whatever_reads_a_range_has_an_end(read: Callable[[Segment], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def nine(_: object, places: Sequence[reader.Place], *__: float) -> Mapping[reader.Place, int]:
        return dict.fromkeys(places, 9)

    monkeypatch.setattr(reader.LogReader, "end_offsets", nine)
    monkeypatch.setattr(reader.LogReader, "begin_offsets", lambda _, places: dict.fromkeys(places, 0))
    with pytest.raises(SetupError, match="ends before offset 9: is the broker up"):
        read(Extent(ClockLog(7, STARTED), -1, 9, {}, {}))

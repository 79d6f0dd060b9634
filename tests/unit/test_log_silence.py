"""A log that has more to tell and does not is no endless wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from economy.errors import ProtocolError, SetupError
from schemas.catalogue import ORDERS
from schemas.log import reader
from streams import restore

PLACE = (ORDERS, 2)


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(reader.LogReader, "poll", lambda *_: [])


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

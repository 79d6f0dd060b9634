"""Queries go to the worker that has least to do; one that ends is replaced by another."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from queries.engine import Answer, Asked, EngineConfig
from queries.workers import LostError, Worker, Workers

ASKED = Asked("{ measures { name } }", None, None, "")


class Fake:
    """A worker that answers, or ends."""

    def __init__(self, load: int, ends: bool = False) -> None:
        self.load = load
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked = 0
        self._ends = ends

    async def ask(self, message: Any) -> Any:
        self.asked += 1
        if self._ends:
            self.ended.set_result(None)
            raise LostError("the worker has ended")
        return Answer(200, b"{}")


def workers(*fakes: Fake) -> Workers:
    found = Workers(EngineConfig(memory_bytes=90, copies_bytes=60), 3)
    found._alive = cast("list[Worker]", list(fakes))
    return found


async def asked_of(*fakes: tuple[int, bool]) -> tuple[Answer, list[int]]:
    """What workers of a load, some of which end, answer, and how often each was asked."""
    made = [Fake(load, ends) for load, ends in fakes]
    return await workers(*made).answer(ASKED), [fake.asked for fake in made]


def test_the_one_with_least_to_do_answers() -> None:
    assert asyncio.run(asked_of((3, False), (1, False), (2, False))) == (Answer(200, b"{}"), [0, 1, 0])


def test_a_query_is_asked_of_another_once() -> None:
    assert asyncio.run(asked_of((0, True), (1, False), (2, False))) == (Answer(200, b"{}"), [1, 1, 0])
    found, asked = asyncio.run(asked_of((0, True), (1, True), (2, False)))
    assert found.status == 503
    assert b"ask for less" in found.body
    assert asked == [1, 1, 0]


def test_a_query_waits_for_a_worker() -> None:
    async def ask() -> None:
        none = workers()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await none.answer(ASKED)

    asyncio.run(ask())


def test_workers_share_the_room() -> None:
    shared = workers()._config
    assert (shared.memory_bytes, shared.copies_bytes) == (30, 60)  # the files of copies are shared

"""Look-ups of single records: those that one request asks for in one turn of the loop are read together.

As strawberry's DataLoader, but with one future for all that are read together instead of one for each: a page of
trades looks up 40 records, and what waits for a future costs more than the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Final, Generic, TypeVar

V = TypeVar("V")
W = TypeVar("W")

BATCH: Final = 500  # look-ups in one statement


class Batch(Generic[V]):
    """Keys, and the reading of what they stand for, in their order."""

    def __init__(self, read: Callable[[list[Any]], Awaitable[Sequence[V]]]) -> None:
        self.keys: list[Any] = []
        self.begun = False
        self._read = read
        # A task begins in the next turn of the loop: until then more keys may come.
        self.reading: asyncio.Task[Sequence[V]] = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> Sequence[V]:
        self.begun = True
        return await self._read(self.keys)


class Promise(Generic[V]):
    """A value that its batch will hold. It may be awaited any number of times."""

    __slots__ = ("_make", "_place", "batch")

    def __init__(self, batch: Batch[Any], place: int, make: Callable[[Any], V] | None = None) -> None:
        self.batch = batch
        self._place = place
        self._make = make

    def then(self, make: Callable[[V], W]) -> Promise[W]:
        """The promise of what `make` makes of the value, which is a value that nothing was made of yet."""
        return Promise(self.batch, self._place, make)

    def result(self) -> V:
        """The value, once the batch is read. Raises what its reading raised."""
        found = self.batch.reading.result()[self._place]
        made: V = found if self._make is None else self._make(found)
        return made

    def __await__(self) -> Generator[Any, None, V]:
        yield from asyncio.shield(self.batch.reading).__await__()  # one who gives up must not stop the others
        return self.result()


class Lookups(Generic[V]):
    """The look-ups of one kind by one request; a key is read once."""

    def __init__(self, read: Callable[[list[Any]], Awaitable[Sequence[V]]]) -> None:
        self._read = read
        self._known: dict[Any, Promise[V]] = {}
        self._open: Batch[V] | None = None

    def find(self, key: Any) -> Promise[V]:
        """The promise of what a key stands for."""
        known = self._known.get(key)
        if known is None:
            batch = self._open
            if batch is None or batch.begun or len(batch.keys) == BATCH:
                batch = self._open = Batch(self._read)
            known = self._known[key] = Promise(batch, len(batch.keys))
            batch.keys.append(key)
        return known

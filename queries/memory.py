"""What is remembered between requests: bounded, the least recently used goes first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final, Generic, TypeVar, cast

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
LARGEST: Final = 4  # one value may take this part of the room


class Bounded(Generic[K, V]):
    """A dictionary that forgets what was used least recently, bounded in entries and in bytes."""

    def __init__(self, entries: int, size: int) -> None:
        self._entries = entries
        self._size = size
        self._known: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.bytes = 0

    def get(self, key: K) -> V | None:
        """The value, None when it is not known."""
        found = self._known.get(key)
        if found is None:
            return None
        self._known.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Remember a value of about `size` bytes; one that is too large for the room is not."""
        self.drop(key)
        if size > self._size // LARGEST:
            return
        self._known[key] = (value, size)
        self.bytes += size
        while len(self._known) > self._entries or self.bytes > self._size:
            self.drop(next(iter(self._known)))

    def drop(self, key: K) -> None:
        """Forget a value."""
        found = self._known.pop(key, None)
        if found is not None:
            self.bytes -= found[1]

    def __len__(self) -> int:
        return len(self._known)


class Memory:
    """What was read of runs that never change again. Several who ask for the same at once share one reading."""

    def __init__(self, size: int) -> None:
        self._known: Bounded[Hashable, Any] = Bounded(entries=200_000, size=size)
        self._reading: dict[Hashable, asyncio.Future[Any]] = {}

    @property
    def bytes(self) -> int:
        """Estimated size of all that is remembered."""
        return self._known.bytes

    def get(self, key: Hashable) -> Any:
        """What is remembered, None when nothing is."""
        return self._known.get(key)

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Remember a value of about `size` bytes."""
        self._known.put(key, value, size)

    async def read(self, key: Hashable, load: Callable[[], Awaitable[V]], size: Callable[[V], int]) -> V:
        """The value of a key, loaded when it is not known."""
        known = self._known.get(key)
        if known is not None:
            return cast("V", known)
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.ensure_future(load())
            task.add_done_callback(lambda done: self._loaded(key, done, size))
        # One who goes away must not take the reading from the others.
        return cast("V", await asyncio.shield(task))

    def _loaded(self, key: Hashable, done: asyncio.Future[Any], size: Callable[[Any], int]) -> None:
        self._reading.pop(key, None)
        if not done.cancelled() and done.exception() is None:
            self._known.put(key, done.result(), size(done.result()))

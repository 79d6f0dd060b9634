"""Answers about stored runs as bytes: such runs never change, so a query over them is computed once.

The key is (query, variables, operation, authorisation); an answer counts only while every run that it read has the
fingerprint (state, digest, newest batch results) with which it was computed. Fingerprints are read again after
`fresh_seconds`: for so long may an answer lag behind a job that publishes new figures of a finished run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# A run that is merely finished may still be on its way from the log into the tables.
FINAL_STATES: Final = frozenset({"stored", "published"})


@dataclass(frozen=True)
class Fingerprint:
    """What the answers about a run depend on."""

    state: str
    digest: str
    computed: str

    @property
    def final(self) -> bool:
        """Whether all of the run is in the tables."""
        return self.state in FINAL_STATES


@dataclass(frozen=True)
class Entry:
    """An answer and the runs that it was read from."""

    body: bytes
    runs: Mapping[int, Fingerprint]


Key = tuple[str, str, str, str]


def cache_key(query: str, variables: Mapping[str, Any] | None, operation: str | None, authorisation: str) -> Key:
    """The key of a request; equal variables in another order are the same request."""
    return query, json.dumps(variables or {}, sort_keys=True), operation or "", authorisation


class ResponseCache:
    """Least recently used answers, bounded in number and in bytes."""

    def __init__(
        self,
        read: Callable[[int], Fingerprint | None],
        entries: int = 1_000,
        size: int = 64 << 20,
        fresh_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._limit = entries
        self._size = size
        self._fresh = fresh_seconds
        self._clock = clock
        self._known: OrderedDict[Key, Entry] = OrderedDict()
        self._seen: dict[int, tuple[float, Fingerprint | None]] = {}
        self.bytes = 0
        self.hits = 0
        self.misses = 0

    async def fingerprint(self, run: int) -> Fingerprint | None:
        """A run's fingerprint, at most `fresh_seconds` old."""
        now = self._clock()
        seen = self._seen.get(run)
        if seen is not None and now - seen[0] < self._fresh:
            return seen[1]
        read = await asyncio.to_thread(self._read, run)
        if len(self._seen) > self._limit:
            self._seen.clear()
        self._seen[run] = (now, read)
        return read

    async def get(self, key: Key) -> bytes | None:
        """The answer, when its runs are as they were."""
        entry = self._known.get(key)
        if entry is not None:
            for run, before in entry.runs.items():
                if await self.fingerprint(run) != before:
                    self._drop(key)
                    entry = None
                    break
        if entry is None or key not in self._known:
            self.misses += 1
            return None
        self._known.move_to_end(key)
        self.hits += 1
        return entry.body

    def put(self, key: Key, body: bytes, runs: Mapping[int, Fingerprint]) -> None:
        """Keep an answer, read from runs with these fingerprints before it; the least recently used make room."""
        if not runs or not all(run.final for run in runs.values()) or len(body) > self._size // 4:
            return
        self._drop(key)
        self._known[key] = Entry(body, dict(runs))
        self.bytes += len(body)
        while len(self._known) > self._limit or self.bytes > self._size:
            self._drop(next(iter(self._known)))

    def _drop(self, key: Key) -> None:
        entry = self._known.pop(key, None)
        if entry is not None:
            self.bytes -= len(entry.body)

    def __len__(self) -> int:
        return len(self._known)

"""Answers about stored runs as bytes: such runs never change, so a query over them is computed once.

The key is (query, variables, operation, scope); an answer counts only while every run that it read has the
fingerprint (state, digest, newest batch results) with which it was computed. Fingerprints are read again after
`fresh_seconds`: for so long may an answer lag behind a job that publishes new figures of a finished run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from queries.memory import Bounded
from queries.policy import Scope
from schemas.clickhouse import STORED


@dataclass(frozen=True)
class Fingerprint:
    """What the answers about a run depend on."""

    state: str
    digest: str
    computed: str
    row: Mapping[str, Any] = field(default_factory=dict, compare=False)  # of the table of runs

    @property
    def final(self) -> bool:
        """Whether all of the run is in the tables: one that is merely finished may still be on its way there."""
        return self.state == STORED


@dataclass(frozen=True)
class Entry:
    """An answer and the runs that it was read from."""

    body: bytes
    runs: Mapping[int, Fingerprint]


Key = tuple[str, str, str, Scope]


def cache_key(query: str, variables: Mapping[str, Any] | None, operation: str | None, scope: Scope) -> Key:
    """The key of a request; equal variables in another order are the same request."""
    return query, json.dumps(variables or {}, sort_keys=True), operation or "", scope


class Fingerprints:
    """Fingerprints of runs, at most `fresh_seconds` old."""

    def __init__(
        self,
        read: Callable[[int], Fingerprint | None],
        entries: int = 1_000,
        fresh_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._limit = entries
        self._fresh = fresh_seconds
        self._clock = clock
        self._seen: dict[int, tuple[float, asyncio.Future[Fingerprint | None]]] = {}

    async def of(self, run: int) -> Fingerprint | None:
        """A run's fingerprint, None when there is no such run; those who ask at once share one reading."""
        now = self._clock()
        seen = self._seen.get(run)
        if seen is None or now - seen[0] >= self._fresh or _failed(seen[1]):
            if len(self._seen) > self._limit:
                self._seen.clear()
            seen = self._seen[run] = now, asyncio.ensure_future(asyncio.to_thread(self._read, run))
        return await asyncio.shield(seen[1])


class ResponseCache:
    """Least recently used answers, bounded in number and in bytes."""

    def __init__(self, fingerprints: Fingerprints, entries: int = 1_000, size: int = 64 << 20) -> None:
        self._fingerprints = fingerprints
        self._known: Bounded[Key, Entry] = Bounded(entries, size)
        self.hits = 0
        self.misses = 0

    @property
    def size(self) -> int:
        """Bytes of all answers."""
        return self._known.bytes

    async def get(self, key: Key) -> bytes | None:
        """The answer, when its runs are as they were."""
        entry = self._known.get(key)
        if entry is not None:
            for run, before in entry.runs.items():
                if await self._fingerprints.of(run) != before:
                    self._known.drop(key)
                    entry = None
                    break
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        return entry.body

    def put(self, key: Key, body: bytes, runs: Mapping[int, Fingerprint]) -> None:
        """Keep an answer, read from runs with these fingerprints before it; the least recently used make room."""
        if runs and all(run.final for run in runs.values()):
            self._known.put(key, Entry(body, dict(runs)), len(body))

    def __len__(self) -> int:
        return len(self._known)


def _failed(reading: asyncio.Future[Any]) -> bool:
    return reading.done() and (reading.cancelled() or reading.exception() is not None)

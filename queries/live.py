"""Runs as they go on: subscriptions that poll the tables, a bounded number of them, sharing each answer for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import strawberry
from graphql import GraphQLError

from economy.errors import UnknownRunError
from queries.limits import RefusedError, public_error
from queries.loaders import Loaders, Reader, Row
from queries.paging import Info
from queries.types import WINDOW_FIGURES, BigInt, Window, subscription

ENDED: Final = frozenset({"finished", "aborted", "projected", "stored", "published"})


class BusyError(RefusedError):
    """Too many subscriptions at once."""


class SlowClientError(RefusedError):
    """A client that did not take what it subscribed to."""


@dataclass(frozen=True)
class LiveSettings:
    """How often the tables are asked, and for how many."""

    poll_seconds: float = 0.5
    slow_seconds: float = 15.0  # a client that takes longer for one message is dropped
    subscriptions: int = 64


@strawberry.type(description="How far a run is.")
class RunProgress:
    """Progress of a run."""

    run: BigInt = strawberry.field(description="Number of the run")
    state: str = strawberry.field(description="State of the run")
    tick: BigInt = strawberry.field(description="Last tick seen in the tables; unit: ticks")
    ticks: BigInt = strawberry.field(description="Ticks of the whole run, 0 while unknown")
    trades: BigInt = strawberry.field(description="Trades in the tables")
    windows: int = strawberry.field(description="Windows measured")
    digest: str | None = strawberry.field(description="Digest, once the run has ended")


class Live:
    """All subscriptions of a server."""

    def __init__(self, reader: Reader, settings: LiveSettings) -> None:
        self.settings = settings
        self._loaders = Loaders(reader)
        self._polls: dict[tuple[str, int], tuple[float, asyncio.Task[Any]]] = {}
        self.active = 0

    async def _shared(self, kind: str, run: int, read: Callable[[], Any]) -> Any:
        """The answer of a poll; those who ask within the same interval share one statement."""
        known = self._polls.get((kind, run))
        now = time.monotonic()
        if known is None or now - known[0] >= self.settings.poll_seconds:
            self._polls = {k: v for k, v in self._polls.items() if now - v[0] < 60}
            known = (now, asyncio.ensure_future(read()))
            self._polls[kind, run] = known
        return await asyncio.shield(known[1])

    async def _progress(self, run: int) -> Row | None:
        rows = await self._loaders.rows(
            "SELECT toString(state) AS state, digest, ticks, "
            "(SELECT max(tick) FROM trade_executed WHERE run = {run:Int64}) AS tick, "
            "(SELECT count() FROM trade_executed WHERE run = {run:Int64}) AS trades, "
            "(SELECT uniqExact(window) FROM stream_indicators WHERE run = {run:Int64}) AS windows "
            "FROM runs FINAL WHERE run = {run:Int64}",
            run=run,
        )
        return rows[0] if rows else None

    async def row(self, run: int) -> Row:
        """Progress of a run. Raises UnknownRunError."""
        found: Row | None = await self._shared("progress", run, lambda: self._progress(run))
        if found is None:
            raise UnknownRunError("run", run, "choose one from runs { nodes { id } }")
        return found

    async def windows(self, run: int, after: int) -> list[Window]:
        """Windows measured after one, at most a hundred."""
        found = await self._loaders.figures(run, WINDOW_FIGURES, 100, after)
        return [Window(number=number, figures=figures) for number, figures in found.items()]

    async def guard(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Count a subscription, and drop it with a message when its client does not keep up."""
        if self.active >= self.settings.subscriptions:
            raise BusyError("too many subscriptions", "end one, or try again later")
        self.active += 1
        try:
            async for message in source:
                handed = time.monotonic()
                yield message
                if time.monotonic() - handed > self.settings.slow_seconds:
                    raise SlowClientError("this client is too slow", "subscribe again and read faster")
        except Exception as error:
            # An error of a subscription's own does not pass the schema's extensions.
            raise public_error(GraphQLError(str(error), original_error=error)) from error
        finally:
            self.active -= 1


async def follow_progress(live: Live, run: int) -> AsyncIterator[RunProgress]:
    """Progress at every change, until the run has ended and is published."""
    last: RunProgress | None = None
    while True:
        row = await live.row(run)
        now = RunProgress(
            run=BigInt(run), state=row["state"], tick=BigInt(int(row["tick"] or 0)), ticks=BigInt(int(row["ticks"])),
            trades=BigInt(int(row["trades"])), windows=int(row["windows"]), digest=row["digest"] or None,
        )  # fmt: skip
        if now != last:
            yield now
            last = now
        if row["state"] in ENDED:
            return
        await asyncio.sleep(live.settings.poll_seconds)


async def follow_windows(live: Live, run: int, after: int) -> AsyncIterator[Window]:
    """Every window after one as it is measured, in order, until the run has ended."""
    while True:
        # The state is read first: what is measured before the end is seen by the last look.
        ended = (await live.row(run))["state"] in ENDED
        found = await live.windows(run, after)
        for window in found:
            yield window
            after = window.number
        if ended and not found:
            return
        if not found:
            await asyncio.sleep(live.settings.poll_seconds)


@strawberry.type(description="What changes while a run goes on (protocol graphql-transport-ws).")
class Subscription:
    """Subscriptions; a client that does not keep up is dropped with a message."""

    @subscription("How far a run is, at every change, until it has ended")
    async def progress(self, info: Info, run: BigInt) -> AsyncIterator[RunProgress]:
        live: Live = info.context.live
        async for item in live.guard(follow_progress(live, int(run))):
            yield item

    @subscription("Windows of the national accounts as they are measured, until the run ends")
    async def windows(self, info: Info, run: BigInt, after: int = -1) -> AsyncIterator[Window]:
        live: Live = info.context.live
        async for item in live.guard(follow_windows(live, int(run), after)):
            yield item

"""Runs as they go on: subscriptions that poll the tables, a bounded number of them, sharing each answer for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import strawberry
from graphql import GraphQLError

from economy.errors import InputError, UnknownRunError
from queries.feeds import AlertFeed, Feed, TradeFeed
from queries.feeds import message as alert_message
from queries.limits import RefusedError, public_error
from queries.loaders import Loaders
from queries.paging import Info
from queries.reader import Reader
from queries.records import Row
from queries.types import WINDOW_FIGURES, BigInt, Window, subscription
from queries.types_events import Event
from queries.types_market import Trade
from schemas.clickhouse import TABLES

FORGOTTEN: Final = 60.0  # seconds after which a feed that nobody follows is dropped
MOST: Final = 100  # trades in a message
F = TypeVar("F", TradeFeed, AlertFeed)
ENDED: Final = frozenset({"finished", "aborted", "projected", "stored", "published"})


class BusyError(RefusedError):
    """Too many subscriptions at once."""


class SlowClientError(RefusedError):
    """A client that did not take what it subscribed to."""


@dataclass(frozen=True)
class LiveSettings:
    """How often the tables are asked, which is also how often a subscriber hears of them, and for how many."""

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


@strawberry.type(description="Trades since the last message: the newest of them, and how many there were besides.")
class TradeBatch:
    """What a screen can show of the new trades."""

    trades: list[Trade] = strawberry.field(description="The newest trades since the last message, ascending")
    skipped: int = strawberry.field(description="Further trades since the last message, which are not shown")


@strawberry.type(description="Something that an operator wants to know at once.")
class Alert:
    """A halt, a bankruptcy, a change of policy, or a run that was paused or aborted."""

    kind: str = strawberry.field(
        description="TradingHalted, TradingResumed, AgentBankrupt, PolicyChanged; RunPaused, RunAborted"
    )
    tick: BigInt | None = strawberry.field(description="Simulated time; unit: ticks; null for changes of the run")
    message: str = strawberry.field(description="The alert in words")
    event: Event | None = strawberry.field(description="The record; null for changes of the run")


class Live:
    """All subscriptions of a server."""

    def __init__(self, reader: Reader, settings: LiveSettings) -> None:
        self.settings = settings
        self._loaders = Loaders(reader)
        self._polls: dict[tuple[str, int], tuple[float, asyncio.Task[Any]]] = {}
        self._feeds: dict[tuple[type[Feed], int], Feed] = {}
        self.active = 0

    async def _shared(self, kind: str, run: int, read: Callable[[], Any]) -> Any:
        """The answer of a poll; those who ask within the same interval share one statement."""
        known = self._polls.get((kind, run))
        now = time.monotonic()
        # One that is still being read is waited for: statements never pile up on a busy store.
        if known is None or (known[1].done() and now - known[0] >= self.settings.poll_seconds):
            known = self._polls[kind, run] = (now, asyncio.ensure_future(read()))
            self._polls = {k: v for k, v in self._polls.items() if now - v[0] < FORGOTTEN or not v[1].done()}
            self._feeds = {k: v for k, v in self._feeds.items() if (k[0].__name__, k[1]) in self._polls}
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

    async def feed(self, kind: type[F], run: int) -> F:
        """A feed of a run, advanced at most once in an interval for all its followers."""
        found = self._feeds.get((kind, run))
        feed = found if isinstance(found, kind) else kind(run)
        reading = self._shared(kind.__name__, run, lambda: feed.advance(self._loaders))
        self._feeds[kind, run] = feed
        await reading
        return feed

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


async def follow_trades(live: Live, run: int, instrument: int | None, most: int) -> AsyncIterator[TradeBatch]:
    """New trades from now on, at most `most` in a message and a message in an interval, until the run has ended."""
    if not 1 <= most <= MOST:
        raise InputError("most", most, f"ask for 1 to {MOST} trades in a message")
    await live.row(run)
    feed = await live.feed(TradeFeed, run)
    number, seen = feed.number, feed.total(instrument)
    while True:
        ended = (await live.row(run))["state"] in ENDED
        feed = await live.feed(TradeFeed, run)
        new = feed.total(instrument) - seen
        if new:
            rows = feed.since(number, instrument)[-most:]
            number, seen = feed.number, seen + new
            yield TradeBatch(trades=[Trade.of(row) for row in rows], skipped=new - len(rows))
        if ended and not new:
            return
        await asyncio.sleep(live.settings.poll_seconds)


async def follow_alerts(live: Live, run: int) -> AsyncIterator[Alert]:
    """Alerts of a run, those of its past first, until it has ended."""
    number, state = 0, ""
    while True:
        before, state = state, (await live.row(run))["state"]
        feed = await live.feed(AlertFeed, run)
        new = feed.since(number)
        for number, kind, row in new:  # noqa: B007  (the last number is where to go on)
            event = Event.of(TABLES[kind], row)
            yield Alert(kind=kind, tick=event.tick, message=alert_message(kind, row), event=event)
        if state != before and state in ("paused", "aborted"):
            yield Alert(kind=f"Run{state.capitalize()}", tick=None, message=f"the run is {state}", event=None)
        if state in ENDED and not new:
            return
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

    @subscription("New trades, the newest of each half second, until the run ends; of one instrument or of all")
    async def trades(
        self, info: Info, run: BigInt, instrument: BigInt | None = None, most: int = 20
    ) -> AsyncIterator[TradeBatch]:
        live: Live = info.context.live
        wanted = None if instrument is None else int(instrument)
        async for item in live.guard(follow_trades(live, int(run), wanted, most)):
            yield item

    @subscription("Halts, bankruptcies, changes of policy, a pause or an abort, from the run's start until its end")
    async def alerts(self, info: Info, run: BigInt) -> AsyncIterator[Alert]:
        live: Live = info.context.live
        async for item in live.guard(follow_alerts(live, int(run))):
            yield item

"""Runs as they go on: subscriptions over feeds that are shared by all who follow a run, a bounded number of them.

Generators stand in one another, from the socket down to the feed, and each closes the one that it reads from. Left to
the collector or to the end of the loop they are closed late, while places stay taken, and in any order, which fails.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import strawberry
from graphql import GraphQLError
from reactivex import Observable
from reactivex.scheduler.eventloop import AsyncIOScheduler

from economy.errors import InputError
from economy.numbers.decimals import exact
from economy.numbers.units import MONEY_SCALE
from economy.scales import RATE_SCALE, Scales
from queries.feeds import Found, Look, SlowClientError, feed, reading, taken
from queries.limits import RefusedError, public_error
from queries.loaders import Loaders
from queries.paging import Info
from queries.reader import Reader
from queries.readings import AlertReading, AlertRecord, ProgressReading, TradeReading, WindowReading, change
from queries.records import Row
from queries.types import BigInt, Window, subscription
from queries.types_events import Event
from queries.types_market import Trade
from schemas.clickhouse import TABLES

MOST: Final = 100  # trades in a message
READERS: Final = 4  # statements of feeds at once: they have threads of their own, which queries do not wait for
P = TypeVar("P")
T = TypeVar("T", bound=Found)
M = TypeVar("M")


_MESSAGES: Final = {
    "TradingHalted": "instrument {instrument}: trading is halted ({reason}) until tick {until}",
    "TradingResumed": "instrument {instrument}: trading goes on at {price}, {quantity} units in the auction",
    "AgentBankrupt": "agent {agent} is bankrupt; its successor seeks {capital_needed} of the currency",
    "PolicyChanged": "agent {agent} sets {policy} to {value}",
}


def _words(kind: str, row: Row, scales: Scales | None) -> str:
    """A record in words, with exact decimals."""
    told = dict(row)
    if kind == "TradingResumed":
        assert scales is not None
        instrument = int(row["instrument"])
        told["price"] = exact(int(row["price"]), scales.price(instrument))
        told["quantity"] = exact(int(row["quantity"]), scales.quantity(instrument))
    for name, scale in (("capital_needed", MONEY_SCALE), ("value", RATE_SCALE)):
        if name in row:
            told[name] = exact(int(row[name]), scale)
    return _MESSAGES[kind].format_map(told)


class BusyError(RefusedError):
    """Too many subscriptions at once."""


@dataclass(frozen=True)
class LiveSettings:
    """How often the tables are asked, which is also how often a subscriber hears of them, and for how many."""

    poll_seconds: float = 0.5
    slow_seconds: float = 15.0  # a client that takes longer for one message is dropped
    subscriptions: int = 64
    buffer: int = 10_000  # records that may wait for one subscriber: who is further behind is dropped
    quiet_seconds: float = 30.0  # an aborted run, which has no last record, is over when nothing came for so long


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

    @classmethod
    def of(cls, kind: str, row: Row, scales: Scales | None) -> Alert:
        """From a record, or from a change of the run, which has none; a record of an instrument needs its scales."""
        if not row:
            state = kind.removeprefix("Run").lower()
            return cls(kind=kind, tick=None, message=f"the run is {state}", event=None)
        event = Event.of(TABLES[kind], row)
        return cls(kind=kind, tick=event.tick, message=_words(kind, row, scales), event=event)


class Reading(Protocol[P, T]):
    """What looks for news of a run."""

    def __init__(self, loaders: Loaders, run: int) -> None: ...

    async def __call__(self, before: Look[P, T] | None) -> Look[P, T]:
        """What is new behind a look."""


class Live:
    """All subscriptions of a server, and a feed of each kind for each run that somebody follows."""

    def __init__(self, reader: Reader, settings: LiveSettings) -> None:
        self.settings = settings
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="live")
        self._reader = reader
        self.loaders = Loaders(reader, executor=self._threads)
        self._feeds: dict[tuple[type[Reading[Any, Any]], int], Observable[Any]] = {}
        self.active = 0

    def close(self) -> None:
        """Give the threads back; statements that are under way are left to themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def follow(self, kind: type[Reading[P, T]], run: int) -> aclosing[AsyncGenerator[Look[P, T], None]]:
        """The looks of a run's feed as queries.feeds.taken gives them, read once for all who follow it."""
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        key = (kind, run)
        found: Observable[Look[P, T]] | None = self._feeds.get(key)
        if found is None:
            patience = math.ceil(self.settings.quiet_seconds / self.settings.poll_seconds)
            read = reading(kind(self.loaders, run))
            found = feed(read, self.settings.poll_seconds, patience, lambda: self._over(key, found), scheduler)
            self._feeds[key] = found
        return aclosing(taken(found, self.settings.buffer, scheduler))

    async def scales(self, run: int, known: Scales | None, rows: Iterable[Row]) -> Scales:
        """Those that were known while they suffice, else newer ones: a listing lies in another partition than what is
        traded and may be stored a moment later. Raises RefusedError for one that does not come.
        """
        needed = {int(row["instrument"]) for row in rows}
        patience = math.ceil(self.settings.quiet_seconds / self.settings.poll_seconds)
        for _ in range(patience):
            if known is not None and needed <= known.prices.keys():
                return known
            known = await Loaders(self._reader, executor=self._threads).scales(run)
            if not needed <= known.prices.keys():
                await asyncio.sleep(self.settings.poll_seconds)
        raise RefusedError(f"the listing of an instrument of run {run} is not in the tables", "subscribe again later")

    def _over(self, key: tuple[type[Reading[Any, Any]], int], found: Observable[Any] | None) -> None:
        """Behind a feed's end, or when its last follower has gone, the next one begins a feed of its own."""
        if self._feeds.get(key) is found:
            del self._feeds[key]

    async def guard(self, source: AsyncGenerator[M, None]) -> AsyncGenerator[M, None]:
        """Count a subscription, and drop it with a message when its client does not keep up."""
        if self.active >= self.settings.subscriptions:
            raise BusyError("too many subscriptions", "end one, or try again later")
        self.active += 1
        try:
            async with aclosing(source):
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


async def follow_progress(live: Live, run: int) -> AsyncGenerator[RunProgress, None]:
    """Progress at every change, until all of the run is in the tables."""
    async with live.follow(ProgressReading, run) as looks:
        async for look in looks:
            now = look.position
            yield RunProgress(
                run=BigInt(run), state=now["state"], tick=BigInt(now["tick"]), ticks=BigInt(now["ticks"]),
                trades=BigInt(now["trades"]), windows=now["windows"], digest=now["digest"] or None,
            )  # fmt: skip


async def follow_windows(live: Live, run: int, after: int) -> AsyncGenerator[Window, None]:
    """Every window after one as it is measured, in order, until the last of the run."""
    async with live.follow(WindowReading, run) as looks:
        start = await anext(looks)
        async with aclosing(WindowReading(live.loaders, run).past(max(after, -1), start.position)) as past:
            async for page in past:
                for window in page:
                    yield window
        async for look in looks:
            for window in look.found:
                if window.number > after:
                    yield window


async def follow_trades(live: Live, run: int, instrument: int | None, most: int) -> AsyncGenerator[TradeBatch, None]:
    """New trades from now on, at most `most` in a message and a message in an interval, until the run's last trade."""
    if not 1 <= most <= MOST:
        raise InputError("most", most, f"ask for 1 to {MOST} trades in a message")
    scales: Scales | None = None
    async with live.follow(TradeReading, run) as looks:
        async for look in looks:
            number, rows = look.found.of(instrument)
            if number:
                shown = rows[-most:]
                scales = await live.scales(run, scales, shown)
                yield TradeBatch(trades=[Trade.of(row, scales) for row in shown], skipped=number - len(shown))


async def follow_alerts(live: Live, run: int) -> AsyncGenerator[Alert, None]:
    """Alerts of a run, those of its past first, until its last record."""
    scales: Scales | None = None

    async def alerts(records: Sequence[AlertRecord]) -> list[Alert]:
        nonlocal scales
        resumed = [row for kind, row in records if kind == "TradingResumed"]
        if resumed:
            scales = await live.scales(run, scales, resumed)
        return [Alert.of(*record, scales) for record in records]

    async with live.follow(AlertReading, run) as looks:
        start = await anext(looks)
        async with aclosing(AlertReading(live.loaders, run).past(start.position)) as past:
            async for page in past:
                for alert in await alerts(page):
                    yield alert
        for record in change(start.state):
            yield Alert.of(*record, scales)
        async for look in looks:
            for alert in await alerts(look.found):
                yield alert


@strawberry.type(description="What changes while a run goes on (protocol graphql-transport-ws).")
class Subscription:
    """Subscriptions; a client that does not keep up is dropped with a message."""

    @subscription("How far a run is, at every change, until it has ended")
    async def progress(self, info: Info, run: BigInt) -> AsyncGenerator[RunProgress, None]:
        live: Live = info.context.live
        return live.guard(follow_progress(live, int(run)))

    @subscription("Windows of the national accounts as they are measured, until the run ends")
    async def windows(self, info: Info, run: BigInt, after: int = -1) -> AsyncGenerator[Window, None]:
        live: Live = info.context.live
        return live.guard(follow_windows(live, int(run), after))

    @subscription("New trades, the newest of each half second, until the run ends; of one instrument or of all")
    async def trades(
        self, info: Info, run: BigInt, instrument: BigInt | None = None, most: int = 20
    ) -> AsyncGenerator[TradeBatch, None]:
        live: Live = info.context.live
        wanted = None if instrument is None else int(instrument)
        return live.guard(follow_trades(live, int(run), wanted, most))

    @subscription("Halts, bankruptcies, changes of policy, a pause or an abort, from the run's start until its end")
    async def alerts(self, info: Info, run: BigInt) -> AsyncGenerator[Alert, None]:
        live: Live = info.context.live
        return live.guard(follow_alerts(live, int(run)))

"""One reading of the tables for all who follow a run, and the bounded buffer between it and each of them.

interval → read, one at a time → scan → distinct → replay of the newest → ref_count. A reading goes on from the position
of the last one, so each record is found once; the first follower starts it and the last one ends it. Nobody holds it
up: what a follower has not taken yet waits in a buffer of its own, and who lets that fill is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sized
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic, Protocol, Self, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.subject import BehaviorSubject

from economy.errors import SetupError
from queries.limits import RefusedError
from queries.store import StoreError

log = logging.getLogger("escape.queries")


class Found(Sized, Protocol):
    """What is new, made without arguments where nothing is; adding what follows gives what is new since the earlier."""

    def __add__(self, later: Self, /) -> Self: ...


P = TypeVar("P")
T = TypeVar("T", bound=Found)
_AWAY: Final = (SetupError, StoreError)  # of ClickHouse: away, out of memory, too busy


class SlowClientError(RefusedError):
    """A client that did not take what it subscribed to."""


@dataclass(frozen=True)
class Look(Generic[P, T]):
    """What one reading found."""

    position: P  # behind the last record that was found
    found: T  # what is new, in order; nothing on the first look, from which on records are new
    state: str  # of the run, read before its records
    complete: bool  # every record of the run has been found
    unsure: bool = False  # no more is promised, but nothing tells the last record: it ends when nothing comes for long
    quiet: int = 0  # looks in a row that found nothing while unsure
    number: int = 0  # of this among the looks that found something

    def after(self, before: Look[P, T] | None) -> Look[P, T]:
        """This look, counted."""
        if before is None:
            return self
        same = self.position == before.position and self.state == before.state
        return replace(self, number=before.number + (not same), quiet=before.quiet + 1 if same and self.unsure else 0)


Read = Callable[[Look[P, T] | None], Awaitable[Look[P, T]]]


def feed(
    read: Callable[[Look[P, T] | None], Observable[Look[P, T]]],
    seconds: float,
    patience: int,
    over: Callable[[], None],
    scheduler: abc.SchedulerBase | None = None,
) -> Observable[Look[P, T]]:
    """What `read` finds behind the look before, every so many seconds at most, shared by all subscribers.

    Who subscribes is given the newest look at once. It completes with the last record of the run; where nothing tells
    which one that is, after `patience` looks that find nothing. While the tables are away it waits, except on the first
    look, whose error is that of the subscription. `over` is called when it has ended or its last subscriber has gone.
    """

    def connect(_: abc.SchedulerBase) -> Observable[Look[P, T]]:
        newest: BehaviorSubject[Look[P, T] | None] = BehaviorSubject(None)

        def look(_: int) -> Observable[Look[P, T]]:
            return rx.defer(lambda _: read(newest.value)).pipe(ops.catch(partial(_passed_over, newest.value)))

        def counted(before: Look[P, T], found: Look[P, T]) -> Look[P, T]:
            return found.after(before)

        def remember(found: Look[P, T]) -> None:
            newest.on_next(found)

        def goes_on(found: Look[P, T]) -> bool:
            return not found.complete and found.quiet < patience

        def told(found: Look[P, T]) -> tuple[int, bool]:
            return found.number, goes_on(found)

        ticks = rx.merge(rx.timer(0.0, scheduler=scheduler), rx.interval(seconds, scheduler=scheduler))
        # One statement at a time: while it is under way ticks pass, so that they never pile up on a busy store.
        alone: Callable[[Observable[Observable[Look[P, T]]]], Observable[Look[P, T]]] = ops.exclusive()
        return alone(ticks.pipe(ops.map(look))).pipe(
            ops.scan(counted),
            ops.do_action(remember),
            ops.take_while(goes_on, inclusive=True),
            ops.distinct_until_changed(told),
        )

    return rx.defer(connect).pipe(ops.finally_action(over), ops.replay(buffer_size=1), ops.ref_count())


def _passed_over(before: Look[P, T] | None, error: Exception, _: Observable[Look[P, T]]) -> Observable[Look[P, T]]:
    """What stands for a reading that failed: nothing while the tables are away, else its error."""
    if before is None or not isinstance(error, _AWAY):
        return rx.throw(error)
    log.warning("a live reading failed and is repeated: %s", error)
    return rx.empty()


async def taken(
    source: Observable[Look[P, T]], most: int, scheduler: abc.SchedulerBase | None = None
) -> AsyncGenerator[Look[P, T], None]:
    """The looks of a feed from the newest one on, which stands for what was before and has nothing new in it.

    Looks that are not taken are put together into one. Raises SlowClientError where that has more than `most` records
    already when the next comes, and the error of the feed.
    """
    follower: _Follower[P, T] = _Follower(most)
    follower.subscription = source.subscribe(follower.take, follower.end, follower.end, scheduler=scheduler)
    try:
        while (look := await follower.next()) is not None:
            yield look
    finally:
        follower.subscription.dispose()


class _Follower(Generic[P, T]):
    """The buffer of one subscriber."""

    def __init__(self, most: int) -> None:
        self.subscription: abc.DisposableBase | None = None
        self._most = most
        self._began = False
        self._waiting: Look[P, T] | None = None
        self._error: Exception | None = None
        self._ended = False
        self._wake = asyncio.Event()

    def take(self, look: Look[P, T]) -> None:
        """Take in a look; called by the feed, which goes on whatever comes of it."""
        if not self._began:
            self._began = True
            look = replace(look, found=type(look.found)())
        if self._waiting is not None:
            if len(self._waiting.found) > self._most:
                self._waiting = None
                self.end(SlowClientError("this client is too slow", "subscribe again and read faster"))
                return
            look = replace(look, found=self._waiting.found + look.found)
        self._waiting = look
        self._wake.set()

    def end(self, error: Exception | None = None) -> None:
        """No more comes."""
        if not self._ended:
            self._ended, self._error = True, error
            self._wake.set()
            if self.subscription is not None:
                self.subscription.dispose()

    async def next(self) -> Look[P, T] | None:
        """What waits or comes next, None behind the last. Raises the error that ended it."""
        await self._wake.wait()
        look, self._waiting = self._waiting, None
        if look is not None:
            if not self._ended:
                self._wake.clear()
            return look
        if self._error is not None:
            raise self._error
        return None


def reading(read: Read[P, T]) -> Callable[[Look[P, T] | None], Observable[Look[P, T]]]:
    """An asynchronous reading as the observable of its one look; it is cancelled with its last subscriber."""

    def start(before: Look[P, T] | None) -> Observable[Look[P, T]]:
        looking: asyncio.Future[Any] = asyncio.ensure_future(read(before))
        return rx.from_future(looking)

    return start

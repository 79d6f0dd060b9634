"""A feed under virtual time against a naive list: each record once and in order, whatever comes between two looks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reactivex import Observable
from reactivex.testing import TestScheduler

from economy.errors import SetupError
from queries.feeds import Look, SlowClientError, feed, taken

PATIENCE = 4
MOST = 5
Record = int
Records = tuple[Record, ...]


class Store:
    """The tables: records in the order in which they were stored, a state, and how each look at them goes."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.state = "open"
        self.away = False
        self.takes = 1.0  # virtual seconds of a look
        self.at_once = self.looks = 0

    def read(self, scheduler: TestScheduler) -> Any:
        """A reading: what it finds is what is there when it ends, its state what was there when it began."""

        def look(before: Look[int, Records] | None) -> Observable[Look[int, Records]]:
            self.looks += 1
            self.at_once += 1
            assert self.at_once == 1, "two looks at once"
            state = self.state

            def found(_: int) -> Look[int, Records]:
                self.at_once -= 1
                if self.away:
                    raise SetupError("ClickHouse does not answer", "wait")
                behind = 0 if before is None else before.position
                new = () if before is None else tuple(self.records[behind:])
                return Look(len(self.records), new, state, state == "stored", state == "aborted")

            return rx.timer(self.takes, scheduler=scheduler).pipe(rx.operators.map(found))

        return look


class Follower:
    """One who subscribes, and what a naive list says that he must be told."""

    def __init__(self, source: Observable[Look[int, Records]], scheduler: TestScheduler) -> None:
        self.told: list[Record] = []
        self.start: int | None = None
        self.over = False
        self.error: Exception | None = None
        self.subscription = source.subscribe(self.take, self.fail, self.end, scheduler=scheduler)

    def take(self, look: Look[int, Records]) -> None:
        if self.start is None:
            self.start = look.position
        else:
            self.told += look.found

    def fail(self, error: Exception) -> None:
        self.error = error

    def end(self) -> None:
        self.over = True


class Feeds(RuleBasedStateMachine):
    """Records are stored, the store goes away and comes back, followers come and go, the run ends, and time passes."""

    @initialize()
    def begin(self) -> None:
        self.scheduler = TestScheduler()
        self.store = Store()
        self.ends = 0
        self.source = feed(self.store.read(self.scheduler), 3.0, PATIENCE, self.ended, self.scheduler)
        self.followers: list[Follower] = []
        self.ever = False

    def ended(self) -> None:
        self.ends += 1

    def pass_(self, seconds: float) -> None:
        self.scheduler.advance_to(self.scheduler.clock + seconds)

    @rule(seconds=st.floats(0.1, 20))
    def wait(self, seconds: float) -> None:
        self.pass_(seconds)

    @rule(seconds=st.floats(0.1, 12))
    def slow(self, seconds: float) -> None:
        self.store.takes = seconds

    @precondition(lambda self: self.store.state != "stored")
    @rule(number=st.integers(1, 7))
    def stored(self, number: int) -> None:
        first = len(self.store.records)
        self.store.records += range(first, first + number)

    @rule()
    def toggle(self) -> None:
        # An outage at the very first look is an error of that subscription; see the test of its own.
        if self.followers and self.followers[0].start is not None:
            self.store.away = not self.store.away

    @rule()
    def subscribe(self) -> None:
        if not self.store.away:
            self.followers.append(Follower(self.source, self.scheduler))

    @precondition(lambda self: len(self.followers) > 1)
    @rule(at=st.integers(0, 99))
    def leave(self, at: int) -> None:
        self.followers.pop(1 + at % (len(self.followers) - 1)).subscription.dispose()

    @rule(state=st.sampled_from(["open", "paused", "finished"]))
    def change(self, state: str) -> None:
        if self.store.state != "stored":
            self.store.state = state

    @rule()
    def complete(self) -> None:
        self.store.state = "stored"

    @invariant()
    def told_in_order_without_gap(self) -> None:
        for follower in getattr(self, "followers", []):
            assert follower.error is None
            if follower.start is not None:
                assert follower.told == list(range(follower.start, follower.start + len(follower.told)))
            if follower.over:  # never before all that there is has been told
                assert self.store.state == "stored"
                assert follower.start is not None
                assert follower.start + len(follower.told) == len(self.store.records)

    def teardown(self) -> None:
        """In the end everybody has been told everything, and the feed is over where the run is."""
        if not getattr(self, "followers", None):
            return
        self.store.away, self.store.takes = False, 1.0
        self.pass_(60)
        for follower in self.followers:
            assert follower.start is not None
            assert follower.start + len(follower.told) == len(self.store.records)
            assert follower.over == (self.store.state == "stored")
        for follower in self.followers:
            follower.subscription.dispose()
        looks = self.store.looks
        self.pass_(60)
        assert self.store.looks == looks, "the last one who left did not stop the reading"
        assert self.ends >= 1


Feeds.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
test_feeds = Feeds.TestCase


def fed(store: Store, scheduler: TestScheduler) -> Observable[Look[int, Records]]:
    return feed(store.read(scheduler), 3.0, PATIENCE, lambda: None, scheduler)


def test_many_followers_are_one_reading_and_who_comes_late_begins_where_it_stands() -> None:
    scheduler, store = TestScheduler(), Store()
    source = fed(store, scheduler)
    followers = [Follower(source, scheduler) for _ in range(50)]
    for second in range(1, 31):
        scheduler.advance_to(float(second))
        store.records.append(second - 1)
    assert store.looks <= 11
    late = Follower(source, scheduler)
    assert late.start == followers[0].start + len(followers[0].told)  # type: ignore[operator]
    assert all(follower.told == followers[0].told for follower in followers)


def test_records_that_come_after_the_finish_are_told_and_then_the_feed_ends() -> None:
    scheduler, store = TestScheduler(), Store()
    follower = Follower(fed(store, scheduler), scheduler)
    scheduler.advance_to(5.0)
    store.state = "finished"
    scheduler.advance_to(50.0)
    assert not follower.over
    store.records += [0, 1]
    scheduler.advance_to(60.0)
    store.records += [2]
    store.state = "stored"
    scheduler.advance_to(70.0)
    assert (follower.told, follower.over) == ([0, 1, 2], True)


def test_an_aborted_run_is_over_when_nothing_came_for_long_and_not_before() -> None:
    scheduler, store = TestScheduler(), Store()
    follower = Follower(fed(store, scheduler), scheduler)
    scheduler.advance_to(5.0)
    store.state = "aborted"
    for second in range(6, 60, 6):  # each within the patience of the one before
        scheduler.advance_to(float(second))
        store.records.append(len(store.records))
        assert not follower.over
    scheduler.advance_to(60.0 + 3.0 * (PATIENCE + 2))
    assert (follower.told, follower.over) == (list(range(9)), True)


def test_an_outage_is_the_error_of_who_subscribes_in_it_and_of_nobody_else() -> None:
    scheduler, store = TestScheduler(), Store()
    early = Follower(fed(store, scheduler), scheduler)
    scheduler.advance_to(5.0)
    store.away = True
    other = Store()
    other.away = True
    newcomer = Follower(fed(other, scheduler), scheduler)
    scheduler.advance_to(25.0)
    assert isinstance(newcomer.error, SetupError)
    store.away = False
    store.records.append(0)
    scheduler.advance_to(35.0)
    assert (early.error, early.told) == (None, [0])


def test_a_reading_that_is_wrong_ends_the_feed_with_its_error() -> None:
    scheduler = TestScheduler()
    wrong: list[Exception] = [KeyError("seq")]

    def read(before: Look[int, Records] | None) -> Observable[Look[int, Records]]:
        return rx.return_value(Look[int, Records](0, (), "open", False)) if before is None else rx.throw(wrong[0])

    follower = Follower(feed(read, 3.0, PATIENCE, lambda: None, scheduler), scheduler)
    scheduler.advance_to(10.0)
    assert follower.error is wrong[0]


# ---- the buffer between a feed and who takes from it


def look(position: int, found: Sequence[Record]) -> Look[int, Records]:
    return Look(position, tuple(found), "open", False)


@given(st.lists(st.integers(0, 3) | st.none(), max_size=60))
def test_what_is_taken_late_is_put_together_and_who_is_too_late_is_dropped_alone(steps: list[int | None]) -> None:
    """A number: so many records come. None: the slow one takes what waits; the quick one does after every step."""

    async def play() -> None:
        subject: rx.subject.ReplaySubject[Look[int, Records]] = rx.subject.ReplaySubject(1)
        subject.on_next(look(0, [99]))  # of before: nothing of it is new
        slow, quick = taken(subject, MOST), taken(subject, 10**6)
        told: dict[str, list[Record]] = {
            "slow": list((await anext(slow)).found),
            "quick": list((await anext(quick)).found),
        }
        assert told == {"slow": [], "quick": []}
        count, waiting, pending = 0, 0, False
        for step in steps:
            if step is None:
                if pending:
                    told["slow"] += (await anext(slow)).found
                waiting, pending = 0, False
                continue
            dropped = pending and waiting > MOST
            subject.on_next(look(count + step, range(count, count + step)))
            count, waiting, pending = count + step, waiting + step, True
            told["quick"] += (await anext(quick)).found
            assert told["quick"] == list(range(count))
            if dropped:
                with pytest.raises(SlowClientError, match="too slow"):
                    await anext(slow)
                assert len(subject.observers) == 1
                break
            assert told["slow"] == list(range(len(told["slow"])))
        else:
            subject.on_completed()
            told["slow"] += [record async for last in slow for record in last.found]
            assert told["slow"] == list(range(count))
        await quick.aclose()
        assert not subject.observers

    asyncio.run(play())


def test_what_waits_is_taken_before_the_end_and_before_an_error() -> None:
    async def play() -> None:
        for error in (None, SetupError("away", "wait")):
            subject: rx.subject.ReplaySubject[Look[int, Records]] = rx.subject.ReplaySubject(1)
            subject.on_next(look(0, []))
            looks = taken(subject, MOST)
            await anext(looks)
            subject.on_next(look(2, [0, 1]))
            if error is None:
                subject.on_completed()
            else:
                subject.on_error(error)
            assert (await anext(looks)).found == (0, 1)
            with pytest.raises(StopAsyncIteration if error is None else SetupError):
                await anext(looks)

    asyncio.run(play())


def test_counting_is_naive_counting() -> None:
    from queries.readings import KEPT, Trades

    @given(st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=8))
    def check(looks: list[list[int]]) -> None:
        rows: list[dict[str, int]] = []
        total = Trades()
        for instruments in looks:
            new = [{"instrument": i, "seq": len(rows) + at} for at, i in enumerate(instruments)]
            rows += new
            total = total + Trades(tuple(new), Counter(instruments))
        for instrument in (None, 0, 1, 2, 3):
            wanted = [row for row in rows if instrument in (None, row["instrument"])]
            assert total.of(instrument) == (len(wanted), tuple(wanted[-KEPT:]))

    check()

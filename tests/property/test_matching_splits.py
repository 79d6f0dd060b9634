"""Where one fetch ends and the next begins, and where a worker is killed, does not show in what matching writes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from economy.instruments import Instrument
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import mark
from economy.records.events import ChainScope, Events, InstrumentClass, RunMode
from schemas.catalogue import ORDERS
from schemas.codec import encode_record
from schemas.log import snapshots
from schemas.log.reader import chunk_of
from schemas.log.recordbatch import Records, joined
from schemas.rows import encode
from streams.matching import FOREIGN, LISTED_LATE, RELISTED, REOPENED, PartitionMatching, output_order

RUNS, INSTRUMENTS, PARTITIONS = (3, 4), (0, 2, 4), 2  # partition 0 of two


def row(name: str, values: list[int]) -> bytes:
    return encode(name, np.array([values], np.int64))[0].tobytes()


def opened(run: int, seed: int = 1) -> bytes:
    return row("RunOpened", [run, RunMode.FREE, seed, 1, PARTITIONS, 1, 1, -1])


def listed(run: int, instrument: int, lot: int = 1) -> bytes:
    made = Instrument(
        instrument, f"I{instrument}", InstrumentClass.GOOD, item=0, fixing_ticks=0, reference_price=50,
        lot_size=lot,
    )  # fmt: skip
    return encode_record("InstrumentListed", made.record(run))


@st.composite
def orders(draw: st.DrawFn) -> bytes:
    o = e.OrderSubmitted
    values = [0] * o.width
    values[o.RUN] = draw(st.sampled_from((*RUNS, 99)))
    values[o.TICK] = draw(st.integers(0, 30))
    values[o.AGENT] = draw(st.integers(0, 3))
    values[o.N] = draw(st.integers(0, 40))
    values[o.ORDER] = draw(st.integers(0, 40))
    values[o.INSTRUMENT] = draw(st.sampled_from((*INSTRUMENTS, 1, 8)))  # 1: another partition's, 8: never listed
    values[o.SIDE] = draw(st.integers(0, 1))
    values[o.TYPE] = draw(st.sampled_from((0, 0, 0, 1)))
    values[o.TIF] = draw(st.integers(0, 2))
    values[o.PRICE] = 0 if values[o.TYPE] else draw(st.integers(-1, 6)) + 47
    values[o.QUANTITY] = draw(st.integers(0, 9))
    values[o.EXPIRES] = draw(st.sampled_from((0, 10, 20)))
    return row(o.name, values)


@st.composite
def cancels(draw: st.DrawFn) -> bytes:
    c = e.OrderCancelRequested
    values = [0] * c.width
    values[c.RUN], values[c.INSTRUMENT] = draw(st.sampled_from(RUNS)), draw(st.sampled_from((*INSTRUMENTS, 1)))
    values[c.TICK], values[c.AGENT] = draw(st.integers(0, 30)), draw(st.integers(0, 3))
    values[c.N], values[c.ORDER] = draw(st.integers(41, 80)), draw(st.integers(0, 40))
    return row(c.name, values)


controls = st.one_of(
    st.builds(opened, st.sampled_from(RUNS), st.sampled_from((1, 1, 2))),
    st.builds(listed, st.sampled_from(RUNS), st.sampled_from((*INSTRUMENTS, 6, 1)), st.sampled_from((1, 1, 5))),
    st.sampled_from(RUNS).map(lambda run: row("RunClosed", [run])),
)
flows = st.lists(st.one_of(*[orders()] * 12, cancels(), controls), min_size=1, max_size=60)
START = [make for run in RUNS for make in (opened(run), *(listed(run, i) for i in INSTRUMENTS))]
WAITING = 5  # a run whose first epoch is open from the beginning of the log to its end: all is read again


def _waiting() -> tuple[list[bytes], bytes]:
    o = e.OrderSubmitted
    order = np.zeros((1, o.width), np.int64)
    order[0, o.RUN], order[0, o.ORDER], order[0, o.PRICE], order[0, o.QUANTITY] = WAITING, 1, 50, 3
    order[0, o.TIF] = e.TimeInForce.IOC
    count, digest, chain = mark({o.name: order}, ChainScope.ORDERS, 0)
    begin = [row("RunOpened", [WAITING, RunMode.EPOCHS, 1, 1, PARTITIONS, 1, 20, 0]), listed(WAITING, 0)]
    closed = row("EpochClosed", [WAITING, 0, 0, 0, count, digest, chain, 1, 1])
    return [*begin, row(o.name, order[0].tolist())], closed


BEGIN, CLOSE = _waiting()


class Log:
    """What a worker would write: bytes by (record name, run, instrument, seq), refusals by offset."""

    def __init__(self, values: list[bytes], gaps: bool = False) -> None:
        self.values = values
        # Control batches of transactions take offsets that no record has.
        self.offsets = np.arange(len(values)) * (3 if gaps else 1)

    def run(self, cuts: list[int], restart: bool) -> tuple[dict[tuple[Any, ...], bytes], list[tuple[int, str]], bytes]:
        state = PartitionMatching(0)
        written: dict[tuple[Any, ...], bytes] = {}
        refused: list[tuple[int, str]] = []
        bounds = [0, *sorted({c for c in cuts if c < len(self.values)}), len(self.values)]
        for a, b in itertools.pairwise(bounds):
            if a == b:
                continue
            a = int(np.searchsorted(self.offsets, state.next_offset))  # the open epoch is read again after a restart
            chunk = chunk_of(ORDERS, 0, self.values[a:b], self.offsets[a:b])
            following = int(self.offsets[b]) if b < len(self.values) else int(self.offsets[-1]) + 1
            for events in state.feed(chunk, following):
                self._write(events, written)
            refused += [(int(self.offsets[a + i]), why) for at, why in state.refused for i in at.tolist()]
            for _ in range(2 * restart):  # the second one before anything was read
                packed = [value for _, value in snapshots.pack(0, 1, state.dump())]
                found = snapshots.newest(packed, 0)
                assert found is not None
                state = PartitionMatching.load(0, found[1])
        return written, sorted(set(refused)), snapshots.pack(0, 1, state.dump())[0][1]

    def _write(self, events: Events, written: dict[tuple[Any, ...], bytes]) -> None:
        names, kinds, rows = output_order(events)
        last: dict[tuple[int, int], int] = {}
        for kind, at in zip(kinds.tolist(), rows.tolist(), strict=True):
            one = events[names[kind]][at]
            identity = (names[kind], *one[:3].tolist())
            if names[kind] in canonical.TRADE_TYPES:
                identity = ("", *identity[1:])  # all market output of an instrument shares one sequence
                assert last.get(identity[1:3], -1) < identity[3]
                last[identity[1:3]] = identity[3]
            assert identity not in written
            written[identity] = encode(names[kind], one[None])[0].tobytes()


@settings(max_examples=150, deadline=None)
@given(flows, st.lists(st.integers(1, 70), max_size=12), st.booleans(), st.booleans())
def test_any_split_and_any_restart_give_the_same_bytes_and_the_same_snapshot(
    flow: list[bytes], cuts: list[int], restart: bool, gaps: bool
) -> None:
    log = Log([*START, *BEGIN, *flow, CLOSE], gaps)
    whole, single = log.run([], False), log.run(list(range(len(log.values))), False)
    assert log.run(cuts, restart) == whole == single
    assert ("EpochMatched", WAITING, 0, 0) in whole[0]
    dense: dict[tuple[int, int], list[int]] = {}
    for name, run, instrument, seq in whole[0]:
        if not name:
            dense.setdefault((run, instrument), []).append(seq)
    assert all(sorted(seqs) == list(range(len(seqs))) for seqs in dense.values())


def test_a_sound_record_in_the_wrong_place_is_refused_and_its_run_goes_on() -> None:
    o = e.OrderSubmitted
    good = [0] * o.width
    good[o.RUN], good[o.ORDER], good[o.PRICE], good[o.QUANTITY] = 3, 1, 50, 1
    foreign = [*good]
    foreign[o.INSTRUMENT] = 1
    flow = [opened(3, seed=2), listed(3, 0, 5), listed(3, 1), row(o.name, good), listed(3, 6), row(o.name, foreign)]
    written, refused, _ = Log(START + flow).run([], False)
    at = len(START)
    assert refused == [(at, REOPENED), (at + 1, RELISTED), (at + 2, FOREIGN), (at + 4, LISTED_LATE), (at + 5, FOREIGN)]
    assert not written


def records_of(values: list[bytes], first: int, token: int = 0) -> Records:
    ends = np.cumsum([len(value) for value in values])
    offsets = first + np.arange(len(values))
    starts = np.concatenate(([0], ends[:-1]))
    buffer = np.frombuffer(b"".join(values), np.uint8)
    return Records(buffer, starts, ends, offsets, 0 * offsets, first, first + len(values), token)


def _shards() -> list[bytes]:
    """An epoch of two shards with an order each, which the markers of both end."""
    o = e.OrderSubmitted
    values = [row("RunOpened", [WAITING, RunMode.EPOCHS, 1, 2, PARTITIONS, 1, 20, 0]), listed(WAITING, 0)]
    for shard in range(2):
        order = np.zeros((1, o.width), np.int64)
        order[0, o.RUN], order[0, o.ORDER], order[0, o.PRICE], order[0, o.QUANTITY] = WAITING, shard, 50, 3
        order[0, o.AGENT] = shard
        closed = [WAITING, 0, shard, 0, *mark({o.name: order}, ChainScope.ORDERS, 0), 0, 1]
        values += [row(o.name, order[0].tolist()), row("EpochClosed", closed)]
    return values


def test_only_what_ends_no_epoch_and_does_nothing_else_waits_for_more() -> None:
    values = _shards()
    for upto in range(2, len(values)):
        for end in range(upto + 1, len(values) + 1):
            state = PartitionMatching(0)
            assert not state.partial(records_of(values[:2], 0))
            state.feed(chunk_of(ORDERS, 0, values[:upto], np.arange(upto)))
            more = records_of(values[upto:end], upto)
            assert state.partial(more) == (end < len(values))
            assert not state.partial(records_of([*values[upto:end], opened(3)], upto))
            assert not state.partial(records_of(values[upto:end], upto + 1))  # what lies before is still at work
            written = state.feed(chunk_of(ORDERS, 0, values[upto:end], np.arange(upto, end)))
            assert bool(written) == (end == len(values))
            state.feed(chunk_of(ORDERS, 0, [opened(3)], np.array([end])))
            assert not state.partial(records_of(values[upto:end], end + 1))  # another run waits for nobody


def test_joined_records_are_those_of_their_parts() -> None:
    values = _shards()
    for cut in range(1, len(values)):
        whole = joined([records_of(values[:cut], 7, 3), records_of(values[cut:], 7 + cut, 3)])
        assert [whole.value(i) for i in range(len(whole))] == values
        assert (whole.first_offset, whole.next_offset, whole.token) == (7, 7 + len(values), 3)
        assert whole.offsets.tolist() == list(range(7, 7 + len(values)))

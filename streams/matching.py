"""Matching as a state machine of one partition, without Kafka: decoded records in, records to write out.

Epoch mode: a run's epoch is matched when the markers of all shards are there and the unique records are as many as they
count. Free mode: records are matched strictly in offset order. A run's state lives between RunOpened and RunClosed;
many runs share a partition and none waits for another.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.errors import InputError, ProtocolError
from economy.instruments import Instrument
from economy.markets.market import Market
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import Chains, mark, seal
from economy.records.events import ChainScope, Events, RunMode
from schemas.catalogue import ORDERS, partition_of
from schemas.log.assembly import EpochAssembler
from schemas.log.reader import Chunk
from schemas.log.recordbatch import Records
from schemas.log.snapshots import State, unpacked
from schemas.rows import counts

MATCHING_WRITER: Final = -2  # shard number of ChainSealed records that matching writes
_PARAMETERS: Final = e.RunOpened.width
_INPUT: Final = (
    (e.OrderSubmitted.name, e.OrderSubmitted.width, e.OrderSubmitted.INSTRUMENT),
    (e.OrderCancelRequested.name, e.OrderCancelRequested.width, e.OrderCancelRequested.INSTRUMENT),
)
# Why a sound record is refused; it goes to the dead letters, and its run goes on without it.
REOPENED: Final = "RUN_OPENED_WITH_OTHER_PARAMETERS"
RELISTED: Final = "INSTRUMENT_LISTED_WITH_OTHER_TERMS"
LISTED_LATE: Final = "INSTRUMENT_LISTED_AFTER_THE_FIRST_ORDER"
FOREIGN: Final = "INSTRUMENT_OF_ANOTHER_PARTITION"
UNREADABLE: Final = "BOOKS_THAT_CANNOT_BE_RESTORED"
_MARKET: Final = "market/"  # prefixes of names in a snapshot
_PART: Final = "part/"
Apply = Callable[[int], list[Events]]


@dataclass
class RunState:
    """One run in one partition."""

    opened: list[int]
    instruments: dict[int, Instrument] = field(default_factory=dict)
    market: Market | None = None
    assembler: EpochAssembler | None = None
    chains: Chains = field(default_factory=lambda: Chains((ChainScope.ORDERS, ChainScope.TRADES)))
    unchained: tuple[int, Events] | None = None  # the epoch that the chains do not know yet
    chain: int = 0
    applied: int = 0  # free mode: records below this offset were matched before the snapshot it was restored from
    count: int = 0  # free mode: records written so far
    parts: dict[int, bytes] = field(default_factory=dict)  # of the books that a fork starts from

    @property
    def run(self) -> int:
        return self.opened[e.RunOpened.RUN]

    @property
    def partitions(self) -> int:
        return self.opened[e.RunOpened.PARTITIONS]

    @property
    def free(self) -> bool:
        return self.opened[e.RunOpened.MODE] == RunMode.FREE

    def books(self) -> Market:
        """The market, made with the instruments listed so far when the first order comes."""
        if self.market is None:
            o = e.RunOpened
            self.market = Market(self.run, self.opened[o.SEED], self.opened[o.EPOCH_TICKS], self.instruments.values())
        return self.market

    def settle(self) -> None:
        """Append the epoch matched last to the chains; nothing but the last marker waits for them."""
        if self.unchained is not None:
            self.chains.update(*self.unchained)
            self.unchained = None

    def restore(self, state: State) -> None:
        """Put back market and chains."""
        o = e.RunOpened
        self.chains = Chains.from_rows(state["chains"], self.chains.scopes)
        self.market = Market.load(
            self.run, self.opened[o.SEED], self.opened[o.EPOCH_TICKS], list(self.instruments.values()),
            {name.removeprefix(_MARKET): rows for name, rows in state.items() if name.startswith(_MARKET)},
        )  # fmt: skip

    def epochs(self) -> EpochAssembler:
        if self.assembler is None:
            o = e.RunOpened
            # One partition is seen here, under number 0.
            self.assembler = EpochAssembler(
                self.run, self.opened[o.SHARDS], 1, 1, self.opened[o.EPOCH_TICKS], (ORDERS,), next_epoch=0
            )
        return self.assembler


class PartitionMatching:
    """All runs of one partition. `feed` returns batches to write, in order: (record name, rows in order)."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.next_offset = 0
        self.output_offset = 0
        self.runs: dict[int, RunState] = {}
        self.closed: set[int] = set()
        self.foreign = 0
        self.matched = 0
        self.awaited = (0, 0)  # (next offset, markers without which the records from there on are of no use)
        self.refused: list[tuple[NDArray[np.int64], str]] = []  # (positions in the last chunk, why)
        self.failed: list[tuple[int, int, str]] = []  # (run, epoch, why) of runs given up in the last chunk

    def feed(self, chunk: Chunk, next_offset: int | None = None) -> list[Events]:
        """Take in one chunk of the orders partition; returns what is to be written, epoch by epoch.

        Strictly in log order: where one chunk ends and the next begins does not show in the result. `next_offset` is
        the offset behind everything read, control batches included. What is refused is left in `refused`, which runs
        were given up in `failed`.
        """
        self.refused, self.failed = [], []
        out: list[Events] = []
        controls = self._controls(chunk)
        at = 0
        for position, apply in [*controls, (len(chunk.offsets), None)]:
            if position > at:
                out += self._match(between(chunk, at, position) if controls else chunk)
            if apply is not None:
                out += apply(position)
            at = position + 1
        self.next_offset = int(chunk.offsets[-1]) + 1 if next_offset is None else next_offset
        self.awaited = self.next_offset, self._markers()
        return out

    def _markers(self) -> int:
        """Markers that the open epoch lacks, where one run in epoch mode is all that there is; else none."""
        if len(self.runs) != 1:
            return 0
        (run,) = self.runs.values()
        return 0 if run.free else len(run.epochs().absent(run.epochs().next_epoch))

    def partial(self, records: Records) -> bool:
        """Whether no epoch can be complete by what is known and these records, which do nothing else either.

        May be asked by another thread: what comes next in order is not taken in meanwhile.
        """
        offset, markers = self.awaited
        if not markers or records.first_offset != offset:
            return False
        found = counts(records.buffer, records.starts, records.ends)
        closed = found.pop(e.EpochClosed.name, 0)
        return closed < markers and closed + sum(found.get(name, 0) for name in canonical.ORDER_TYPES) == len(records)

    def settle(self) -> None:
        """Do what the output need not wait for; left alone, the next epoch or snapshot does it."""
        for run in self.runs.values():
            run.settle()

    def _controls(self, chunk: Chunk) -> list[tuple[int, Apply]]:
        """(position, what it does) of the records that open and close runs and list instruments, in order."""
        found: list[tuple[int, Apply]] = []
        for name, act in ((e.RunOpened.name, self._open), (e.RunClosed.name, self._close)):
            if name in chunk.rows:
                pairs = zip(chunk.index[name].tolist(), chunk.rows[name].tolist(), strict=True)
                found += [(at, partial(act, row)) for at, row in pairs]
        for at, name, record in chunk.cold:
            if name == "InstrumentListed":
                found.append((at, partial(self._list, record)))
            elif name == "BooksRestored":
                found.append((at, partial(self._restore, record)))
        return sorted(found, key=lambda control: control[0])

    def _match(self, chunk: Chunk) -> list[Events]:
        """Records between two controls."""
        out: list[Events] = []
        mentioned = {run for rows in chunk.rows.values() for run in distinct(rows[:, 0])}
        for number in sorted(mentioned):
            run = self.runs.get(number)
            if run is None:
                self.foreign += number not in self.closed
            elif run.free:
                out += self._match_free(run, chunk)
            else:
                self._match_epochs(run, chunk, out)
        return out

    def _refuse(self, positions: NDArray[np.int64] | list[int], why: str) -> list[Events]:
        self.refused.append((np.asarray(positions, np.int64), why))
        return []

    def _close(self, row: list[int], position: int) -> list[Events]:
        ended = self.runs.pop(row[0], None)
        self.closed.add(row[0])
        if ended is None or not ended.free:
            return []
        return [{e.EpochMatched.name: self._matched_row(ended, 0, ended.count, 0, 0, 1)}]

    def _open(self, row: list[int], position: int) -> list[Events]:
        run = row[e.RunOpened.RUN]
        if run in self.closed:
            return []  # a late resend never reopens a run
        if self.runs.setdefault(run, RunState(row)).opened != row:
            return self._refuse([position], REOPENED)
        return []

    def _list(self, record: Mapping[str, Any], position: int) -> list[Events]:
        run = self.runs.get(record["run"])
        if run is None:
            return []
        try:
            instrument = Instrument.from_record(record)
        except InputError as error:
            return self._refuse([position], str(error))
        if partition_of(instrument.instrument, run.partitions) != self.partition:
            return self._refuse([position], FOREIGN)
        known = run.instruments.get(instrument.instrument)
        if known is None and run.market is not None:
            return self._refuse([position], LISTED_LATE)
        if run.instruments.setdefault(instrument.instrument, instrument) != instrument:
            return self._refuse([position], RELISTED)
        return []

    def _restore(self, record: Mapping[str, Any], position: int) -> list[Events]:
        """Begin a fork with its parent's books, once all their parts are there."""
        run = self.runs.get(record["run"])
        if run is None or run.market is not None:
            return []
        run.parts[record["part"]] = record["state"]
        if not all(part in run.parts for part in range(record["parts"])):
            return []
        try:
            run.restore(unpacked(b"".join(run.parts[part] for part in range(record["parts"]))))
        except (ValueError, KeyError, zipfile.BadZipFile):
            return self._refuse([position], UNREADABLE)
        finally:
            run.parts = {}
        run.epochs().next_epoch = record["epoch"] + 1
        return []

    def _match_epochs(self, run: RunState, chunk: Chunk, out: list[Events]) -> None:
        """Match what is complete. A run whose records contradict each other is given up; the others go on."""
        try:
            assembler = run.epochs()
            assembler.add(Chunk(chunk.family, 0, chunk.offsets, chunk.rows, chunk.index))
            while assembler.complete():
                out.append(self._match_epoch(run, *assembler.take()))
        except ProtocolError as error:
            del self.runs[run.run]
            self.closed.add(run.run)
            self.failed.append((run.run, run.epochs().next_epoch, error.message))

    def _match_epoch(self, run: RunState, epoch: int, taken: dict[str, Events], last: bool) -> Events:
        run.settle()
        orders = taken[ORDERS]
        events = run.books().match_epoch(
            epoch,
            orders.get(e.OrderSubmitted.name, np.empty((0, e.OrderSubmitted.width), np.int64)),
            orders.get(e.OrderCancelRequested.name, np.empty((0, e.OrderCancelRequested.width), np.int64)),
        )
        count, digest, run.chain = mark(events, ChainScope.TRADES, run.chain)
        run.unchained = epoch, orders | events
        if last:
            run.settle()
            events[e.ChainSealed.name] = seal(run.chains.rows(), run.run, MATCHING_WRITER)
        events[e.EpochMatched.name] = self._matched_row(run, epoch, count, digest, run.chain, int(last))
        self.matched += 1
        return events

    def _match_free(self, run: RunState, chunk: Chunk) -> list[Events]:
        parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for name, width, instrument in _INPUT:
            rows = chunk.rows.get(name, np.empty((0, width), np.int64))
            offsets = chunk.offsets_of(name) if len(rows) else np.empty(0, np.int64)
            mine = (rows[:, 0] == run.run) & (offsets >= run.applied)
            foreign = mine & (partition_of(rows[:, instrument], run.partitions) != self.partition)
            if foreign.any():
                self._refuse(chunk.index[name][foreign], FOREIGN)
                mine &= ~foreign
            parts.append((rows[mine], offsets[mine]))
        (orders, submitted), (cancels, requested) = parts
        if not len(orders) and not len(cancels):
            return []
        events = run.books().match_free(orders, cancels, np.concatenate((submitted, requested)))
        run.count += sum(map(len, events.values()))
        return [events] if events else []

    def _matched_row(
        self, run: RunState, epoch: int, count: int, digest: int, chain: int, last: int
    ) -> NDArray[np.int64]:
        return np.array([[run.run, epoch, self.partition, count, digest, chain, last]], np.int64)

    # ---- snapshots
    def resume_offset(self) -> int:
        """Offset from which a restored partition reads on: the first record of an epoch that is still open."""
        place = (ORDERS, 0)
        offsets = [run.assembler.resume_offsets({}).get(place) for run in self.runs.values() if run.assembler]
        return min([self.next_offset, *(offset for offset in offsets if offset is not None)])

    def dump(self) -> State:
        """State at the cut of every run; records of open epochs are read again from `resume_offset`."""
        self.settle()
        state: State = {
            "head": np.array([self.resume_offset(), self.output_offset], np.int64),
            "closed": np.array(sorted(self.closed), np.int64),
            "runs": np.array(sorted(self.runs), np.int64),
        }
        for number, run in self.runs.items():
            epoch = run.assembler.next_epoch if run.assembler else 0
            state[f"{number}/head"] = np.array(
                [epoch, run.chain, max(run.applied, self.next_offset), run.count, run.market is not None], np.int64
            )
            state[f"{number}/opened"] = np.array(run.opened, np.int64)
            state[f"{number}/chains"] = run.chains.rows()
            state[f"{number}/listed"] = np.array([repr_of(i) for i in run.instruments.values()], np.str_)
            state |= {f"{number}/{_PART}{part}": np.frombuffer(data, np.uint8) for part, data in run.parts.items()}
            if run.market is not None:
                state |= {f"{number}/{_MARKET}{name}": rows for name, rows in run.market.dump().items()}
        return state

    @classmethod
    def load(cls, partition: int, state: State) -> PartitionMatching:
        """Restore what `dump` gave."""
        self = cls(partition)
        self.next_offset, self.output_offset = (int(v) for v in state["head"])
        self.closed = {int(run) for run in state["closed"]}
        for number in (int(run) for run in state["runs"]):
            run = RunState([int(v) for v in state[f"{number}/opened"]])
            epoch, run.chain, run.applied, run.count, traded = (int(v) for v in state[f"{number}/head"])
            run.instruments = {i.instrument: i for i in map(parse, state[f"{number}/listed"].tolist())}
            run.epochs().next_epoch = epoch
            own = f"{number}/"
            mine = {name.removeprefix(own): rows for name, rows in state.items() if name.startswith(own)}
            run.chains = Chains.from_rows(mine["chains"], run.chains.scopes)
            run.parts = {int(n[len(_PART) :]): rows.tobytes() for n, rows in mine.items() if n.startswith(_PART)}
            if traded:
                run.restore(mine)
            self.runs[number] = run
        return self


def distinct(numbers: NDArray[np.int64]) -> list[int]:
    """The different numbers, of which there is mostly one."""
    if len(numbers) and (numbers == numbers[0]).all():
        return [int(numbers[0])]
    found: list[int] = np.unique(numbers).tolist()
    return found


def repr_of(instrument: Instrument) -> str:
    """An instrument as text for a snapshot."""
    return json.dumps(instrument.record(0))


def parse(text: str) -> Instrument:
    """The instrument that `repr_of` wrote."""
    return Instrument.from_record(json.loads(text))


def between(chunk: Chunk, start: int, end: int) -> Chunk:
    """The rows of a chunk whose records lie at positions start to end-1."""
    rows, index = {}, {}
    for name, positions in chunk.index.items():
        a, b = np.searchsorted(positions, (start, end))
        if a < b:
            rows[name], index[name] = chunk.rows[name][a:b], positions[a:b]
    return Chunk(chunk.family, chunk.partition, chunk.offsets, rows, index)


def output_order(events: Events) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """(record names, index of the name and row of each record) in the order of writing: market output by
    (instrument, seq), then seals, then the marker.
    """
    traded = [name for name in canonical.TRADE_TYPES if name in events]
    names: list[str] = [*traded, *(name for name in (e.ChainSealed.name, e.EpochMatched.name) if name in events)]
    none = np.empty(0, np.int64)
    kind = np.concatenate([none, *(np.full(len(events[name]), i, np.int64) for i, name in enumerate(names))])
    row = np.concatenate([none, *(np.arange(len(events[name])) for name in names)])
    if traded:
        keys = np.concatenate([events[name][:, [canonical.INSTRUMENT, canonical.SEQ]] for name in traded])
        sorted_ = np.lexsort((keys[:, 1], keys[:, 0]))
        kind[: len(keys)], row[: len(keys)] = kind[sorted_], row[sorted_]
    return names, kind, row

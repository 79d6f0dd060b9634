"""A free-running stream of orders over several partitions, the workers that share it, and what must come of it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from economy.instruments import Instrument
from economy.markets.market import Market
from economy.records import events as e
from economy.records.canonical import TRADE_TYPES
from economy.records.events import InstrumentClass, Rows, RunMode
from schemas.catalogue import ORDERS, TRADES, partition_of
from schemas.log.reader import LogReader
from schemas.log.writer import LogWriter
from schemas.rows import encode
from tests.integration import toy
from tests.processes import PATIENCE, put_away, stopped

SEED, LISTED = 11, 12
Identity = tuple[int, ...]
INSTRUMENTS = [Instrument(i, f"I{i}", InstrumentClass.GOOD, item=i, reference_price=1000) for i in range(LISTED)]


@dataclass
class Flow:
    """Orders of one run in the order of arrival; every eighth message cancels an earlier order."""

    run: int
    count: int
    partitions: int
    orders: Rows = field(init=False)
    cancels: Rows = field(init=False)
    arrival: Rows = field(init=False)  # place of each row, orders first

    def __post_init__(self) -> None:
        o, c = e.OrderSubmitted, e.OrderCancelRequested
        rng = np.random.default_rng(self.run)
        place = np.arange(self.count)
        cancel = (place % 8 == 7) & (place > 50)
        rows = np.zeros((self.count, o.width), np.int64)
        rows[:, o.RUN], rows[:, o.TICK] = self.run, place // 500
        rows[:, o.AGENT] = rng.integers(0, 300, self.count)
        rows[:, o.N] = rows[:, o.ORDER] = place + 1
        rows[:, o.INSTRUMENT] = rng.integers(0, LISTED + 1, self.count)  # the last one is not listed
        rows[:, o.SIDE], rows[:, o.TIF] = rng.integers(0, 2, self.count), rng.integers(0, 3, self.count)
        rows[:, o.PRICE], rows[:, o.QUANTITY] = (
            1000 + rng.integers(-20, 21, self.count),
            rng.integers(0, 60, self.count),
        )
        rows[:, o.EXPIRES] = np.where(rng.random(self.count) < 0.5, rows[:, o.TICK] + 4, 0)
        aimed = rows[np.maximum(0, place - rng.integers(1, 50, self.count))]
        cancels = np.zeros((self.count, c.width), np.int64)
        for to, of in ((c.RUN, o.RUN), (c.AGENT, o.AGENT), (c.ORDER, o.ORDER), (c.INSTRUMENT, o.INSTRUMENT)):
            cancels[:, to] = aimed[:, of]
        cancels[:, c.TICK], cancels[:, c.N] = rows[:, o.TICK], rows[:, o.N]
        self.orders, self.cancels = rows[~cancel], cancels[cancel]
        self.arrival = np.concatenate((place[~cancel], place[cancel]))

    def open(self, writer: LogWriter) -> None:
        """RunOpened and the instruments in every partition."""
        opened = np.array([[self.run, RunMode.FREE, SEED, 1, self.partitions, 1, 1, -1]])
        for p in range(self.partitions):
            writer.send_rows("RunOpened", opened, p)
        for instrument in INSTRUMENTS:
            writer.send_record(
                "InstrumentListed", instrument.record(self.run), partition_of(instrument.instrument, self.partitions)
            )
        writer.flush()

    def close(self, writer: LogWriter) -> None:
        """RunClosed in every partition."""
        for p in range(self.partitions):
            writer.send_rows("RunClosed", np.array([[self.run]]), p, ORDERS)
        writer.flush()

    def part(self, partition: int, start: int, end: int) -> tuple[Rows, Rows, Rows]:
        """(orders, cancels, arrival) of a partition that arrived at places start to end-1."""
        o, c = e.OrderSubmitted, e.OrderCancelRequested
        instruments = np.concatenate((self.orders[:, o.INSTRUMENT], self.cancels[:, c.INSTRUMENT]))
        mine = (
            (partition_of(instruments, self.partitions) == partition) & (self.arrival >= start) & (self.arrival < end)
        )
        n = len(self.orders)
        return self.orders[mine[:n]], self.cancels[mine[n:]], self.arrival[mine]

    def send(self, writer: LogWriter, start: int, end: int) -> None:
        """Send what arrives at places start to end-1 and wait for the acknowledgements."""
        for p in range(self.partitions):
            orders, cancels, arrival = self.part(p, start, end)
            parts = {"OrderSubmitted": orders, "OrderCancelRequested": cancels}
            writer.send_interleaved(parts, np.argsort(arrival), p)
        writer.flush()

    def expected(self, sent: int | None = None) -> dict[Identity, bytes]:
        """(instrument, seq) -> record, of the market called in process with the first `sent` messages, or all."""
        out: dict[Identity, bytes] = {}
        count = self.count if sent is None else sent
        for p in range(self.partitions):
            listed = [i for i in INSTRUMENTS if partition_of(i.instrument, self.partitions) == p]
            events = Market(self.run, SEED, 1, listed).match_free(*self.part(p, 0, count))
            for name, rows in events.items():
                buffer, ends = encode(name, rows)
                data, starts = buffer.tobytes(), [0, *ends.tolist()[:-1]]
                ids = map(tuple, rows[:, 1:3].tolist())
                out |= {i: data[a:b] for i, a, b in zip(ids, starts, ends.tolist(), strict=True)}
        return out


@dataclass
class Output:
    """What the log holds of a run: records by (instrument, seq), and how many were there twice."""

    records: dict[Identity, bytes]
    duplicates: int


def collect(bootstrap: str, namespace: str, flow: Flow, timeout: float = PATIENCE) -> Output:
    """Read the run's output until it has ended in every partition. Fails on a gap or two contents of one record."""
    places = {(TRADES, p): 0 for p in range(flow.partitions)}
    records: dict[Identity, bytes] = {}
    following: dict[int, int] = {}
    duplicates, ended, limit = 0, set[int](), time.monotonic() + timeout
    with LogReader(bootstrap, namespace, places) as reader:
        while len(ended) < flow.partitions:
            assert time.monotonic() < limit, f"ended: {ended}, positions: {reader.position}"
            for chunk in reader.poll(0.3):
                found = {}
                for name in chunk.rows.keys() & set(TRADE_TYPES):
                    rows, index = chunk.rows[name], chunk.index[name]
                    found |= dict(zip(index.tolist(), rows[:, :3].tolist(), strict=True))
                for at in sorted(found):
                    run, *identity = found[at]
                    if run != flow.run:
                        continue
                    instrument, seq = identity
                    if seq < following.get(instrument, 0):
                        duplicates += 1
                        assert records[instrument, seq] == chunk.values[at]
                        continue
                    assert seq == following.get(instrument, 0), f"gap before {identity}"
                    following[instrument] = seq + 1
                    records[instrument, seq] = chunk.values[at]
                if any((rows[:, 0] == flow.run).any() for rows in [chunk.rows.get("EpochMatched", np.empty((0, 1)))]):
                    ended.add(chunk.partition)
    return Output(records, duplicates)


class Crew:
    """Workers of one group. Use as a context manager: at the end those that live must stop by themselves."""

    def __init__(self, bootstrap: str, namespace: str, partitions: int, folder: Path, session: float = 3.0) -> None:
        self._where = bootstrap, namespace, partitions, folder
        self._session = session
        self.folder = folder
        self.members: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for member in self.members.values():
            member.send_signal(signal.SIGCONT)
            member.send_signal(signal.SIGTERM)
        codes = {name: self._end_of(member) for name, member in self.members.items()}
        if error is None:  # else that is told, and nothing hides it
            assert set(codes.values()) == {0}, (codes, *map(self.log, codes))

    @staticmethod
    def _end_of(member: subprocess.Popen[bytes]) -> int:
        """Exit code of a member that stops by itself."""
        try:
            return member.wait(PATIENCE)
        finally:
            put_away(member)

    def start(self, *names: str) -> None:
        for name in names:
            options = ("--session-timeout", str(self._session))
            self.members[name] = toy.start_worker(*self._where, name, options)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def restored(self, name: str) -> int:
        """How many partitions a worker has been given so far."""
        return self.log(name).count("of output to compare")

    def wait_started(self, name: str) -> None:
        self._wait(name, lambda: "matching started" in self.log(name))

    def wait_restored(self, name: str, count: int = 1) -> None:
        self._wait(name, lambda: self.restored(name) >= count)

    def _wait(self, name: str, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        limit = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < limit, self.log(name)[-2000:]
            assert self.members[name].poll() is None, self.log(name)[-2000:]
            time.sleep(0.05)

    def kill(self, name: str) -> None:
        self.members[name].kill()
        self.members[name].wait()

    def stop(self, name: str) -> None:
        member = self.members.pop(name)
        assert stopped(member) == 0, self.log(name)[-2000:]

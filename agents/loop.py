"""A shard on Kafka: the loop that grants, steps, sends, waits for the cut and applies it.

Restart: the newest snapshot is restored, flows and trades are read to their present end before anything is done, and
epochs that are certainly on the log (an EpochMatched of a later epoch exists) are stepped without sending; the open one
is sent again byte for byte.
"""

from __future__ import annotations

import gc
import logging
import os
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agents import snapshot
from agents.model import Model, Shard
from agents.registry import Models
from agents.snapshot import COUNTS, Kept
from economy.errors import InputError, ProtocolError
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import Chains, mark, seal
from economy.records.events import ChainScope, Events, Rows
from schemas.catalogue import CLOCK, DECISIONS, FLOWS, ORDERS, TRADES, topic
from schemas.log.assembly import OPENING, EpochAssembler
from schemas.log.batchwriter import BatchWriter
from schemas.log.clocklog import OUTSIDER, ClockLog, describes_a_run, read_clock
from schemas.log.follower import Follower
from schemas.log.reader import Place, end_offsets
from schemas.log.recordbatch import HEAD
from schemas.log.writer import LogWriter
from telemetry.logs import Level

log = logging.getLogger("escape.shard")
_FAMILIES: Final = (
    (DECISIONS, ChainScope.DECISIONS, canonical.DECISION_TYPES, canonical.AGENT),
    (FLOWS, ChainScope.FLOWS, canonical.FLOW_TYPES, canonical.AGENT),
    (ORDERS, ChainScope.ORDERS, canonical.ORDER_TYPES, e.OrderSubmitted.INSTRUMENT),
)
_LOT_BITS: Final = 8  # of an incarnation: drawn by lot
_BEGAN_BITS: Final = 32  # above them: the second in which the command began
_FIRST: Final = 1 << 41  # above the milliseconds of 1970 that incarnations of earlier versions were


@dataclass(frozen=True)
class ShardConfig:
    """Where a shard finds its run."""

    bootstrap: str
    namespace: str
    run: int
    shard: int
    snapshot_every: int = 100  # epochs
    patience: float = 120.0  # seconds that a cut may take before the shard ends with what is missing
    trusted: tuple[str, ...] = ()  # further models that the run may name
    compress: bool = False  # what the shard writes
    log_level: Level = "INFO"  # least level that it logs
    began: int = 0  # second since 1970 in which whoever runs the run began


class StoppedError(ProtocolError):
    """The run was aborted, or another process took over this shard."""


class ShardLoop:
    """The blocking loop of one shard; `run` returns when the run is finished or aborted."""

    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.incarnation = 0  # of none yet: it is known once the log has been read
        self.clock = ClockLog(config.run)
        self.counts = np.zeros(len(COUNTS), np.int64)
        self.cut = OPENING - 1
        self.doing = "start"
        self.finished = self.stopped = False
        self.stopping = False
        self._marks: dict[tuple[str, int], int] = {}
        self._flows = topic(config.namespace, FLOWS)
        self._posted = 0  # bytes of flows in the epoch at work
        self._chains = Chains((ChainScope.DECISIONS, ChainScope.FLOWS))
        self._shard: Shard | None = None

    # ---- recovery
    def _restore(self) -> None:
        self.doing = "restore"
        config = self.config
        started = self._started()
        if not describes_a_run(started):
            raise InputError("RunStarted", config.run, "it does not say where the run is: it is damaged or forged")
        self.partitions, self.flow_partitions = started["partitions"], started["flow_partitions"]
        self.shards, self.last_epoch = started["shards"], started["last_epoch"]
        self.model: Model = Models(tuple(config.trusted)).of(started)
        start: dict[Place, int] = {(CLOCK, 0): 0}
        for family, count in ((FLOWS, self.flow_partitions), (TRADES, self.partitions)):
            start |= {(family, p): started["start_offsets"][family][p] for p in range(count)}
        before = 0
        found = snapshot.newest(config.bootstrap, config.namespace, config.run, config.shard, self._loaded)
        if found is not None:
            kept, self._chains, self._shard = found
            self.cut, self.counts, self._marks = kept.cut, kept.counts, dict(kept.marks)
            start |= kept.offsets
            before = kept.incarnation
        self.assembler = EpochAssembler(
            config.run, self.shards, self.partitions, self.flow_partitions, self.model.epoch_ticks,
            next_epoch=self.cut + 1,
        )  # fmt: skip
        flows = {place: offset for place, offset in start.items() if place[0] == FLOWS}
        self.flows = Follower(config.bootstrap, config.namespace, flows)
        self.trades = Follower(config.bootstrap, config.namespace, {p: start[p] for p in start.keys() - flows.keys()})
        self.writer = BatchWriter(config.bootstrap, config.namespace, config.compress)
        self._read_to_end(self.trades)
        self._read_to_end(self.flows)  # its own markers among them, which say who came before
        newest = max(before, self.assembler.incarnations.get(config.shard, 0))
        self.incarnation = next_incarnation(newest, config.began)

    def _started(self) -> dict[str, Any]:
        """RunStarted, which the clock may be about to write."""
        limit = time.monotonic() + self.config.patience
        while True:
            state = read_clock(self.config.bootstrap, self.config.namespace, self.config.run)
            if state.started is not None:
                return state.started
            if time.monotonic() > limit:
                raise ProtocolError(f"run {self.config.run} does not start", "see the log of its clock")
            time.sleep(0.05)

    def _loaded(self, kept: Kept) -> tuple[Kept, Chains, Shard]:
        """A snapshot and what is made of it; nothing of this loop changes, since another may have to be taken."""
        shard = self.model.load_shard(self.config.run, self.config.shard, self.shards, kept.state)
        return kept, Chains.from_rows(kept.chains, self._chains.scopes), shard

    def _read_to_end(self, reader: Follower) -> None:
        """Take in what is on the log now. Raises ProtocolError when it does not come."""
        ends = end_offsets(self.config.bootstrap, self.config.namespace, list(reader.position))
        limit, position = time.monotonic() + self.config.patience, dict(reader.position)
        while any(position[place] < ends[place] for place in ends):
            self._poll(reader)
            if reader.position != position:
                limit, position = time.monotonic() + self.config.patience, dict(reader.position)
            elif time.monotonic() > limit:
                raise ProtocolError(f"the log ends at {position}, before {ends}", "is the broker up?")

    def _snapshot(self) -> None:
        assert self._shard is not None
        self.doing = "snapshot"
        position = self.flows.position | self.trades.position
        offsets = self.assembler.resume_offsets({p: o for p, o in position.items() if p[0] != CLOCK})
        kept = Kept(
            self.cut, self.counts, self._chains.rows(), self._marks, offsets, self._shard.dump(), self.incarnation
        )
        snapshot.send(self.writer, self.config.run, self.config.shard, kept)

    # ---- one epoch
    def _poll(self, reader: Follower, timeout: float = 0.5, least: int = 1) -> bool:
        """Take in what comes; whether anything did."""
        chunks = reader.poll(timeout, least)
        for chunk in chunks:
            self.clock.feed(chunk)
            self.assembler.add(chunk)
        newest = self.assembler.incarnations.get(self.config.shard, 0)
        if newest > self.incarnation > 0:
            raise StoppedError(f"another process runs shard {self.config.shard}", "nothing: this one ends")
        if self.clock.aborted is not None:
            raise StoppedError(f"run {self.config.run} was aborted: {self.clock.aborted}", "start another run")
        return bool(chunks)

    def _read(self, epoch: int) -> None:
        """Flows, then trades: the former are all there while matching is still at work.

        The broker is to answer once, when the flows of all shards are there: our own, and a batch of each other shard.
        """
        awaited = [shard for family, _, shard in self.assembler.absent(epoch) if family == FLOWS]
        own = self.config.shard
        least = HEAD.size * sum(shard != own for shard in awaited) + self._posted * (own in awaited)
        if not (self._poll(self.flows, least=least) if awaited else self._poll(self.trades)):
            self._poll(self.trades if awaited else self.flows, 0)

    def _wait_cut(self, epoch: int) -> tuple[int, dict[str, Events], bool]:
        self.doing = f"wait for the cut of {epoch}"
        limit = time.monotonic() + self.config.patience
        while not self.assembler.complete():
            self._read(epoch)
            if self.clock.paused or self.stopping:
                limit = time.monotonic() + self.config.patience
            if time.monotonic() > limit:
                raise ProtocolError(
                    f"epoch {epoch} of run {self.config.run} is not complete after {self.config.patience:.0f} s: "
                    f"shard {self.config.shard} waits for {self.assembler.missing(epoch)}",
                    "see the logs of those writers",
                )
        return self.assembler.take()

    def _send(self, epoch: int, out: Events, quiet: bool) -> None:
        """Records and markers of an epoch; when quiet only the chains are brought forward."""
        last = int(epoch == self.last_epoch)
        for family, scope, names, column in _FAMILIES:
            mine = canonical.select(out, names)
            count = self.partitions if family == ORDERS else self.flow_partitions
            for partition in range(count):
                part = split(mine, column, partition, count)
                place = (family, partition)
                records, digest, self._marks[place] = mark(part, scope, self._marks.get(place, 0))
                if quiet:
                    continue
                for name, rows in part.items():
                    self.writer.send_rows(name, rows, partition)
                if last and family == FLOWS:
                    sealed = seal(self._chains.rows(), self.config.run, self.config.shard)
                    mine_ = sealed[sealed[:, e.ChainSealed.ID] % count == partition]
                    self.writer.send_rows(e.ChainSealed.name, mine_, partition, FLOWS)
                marker = [
                    self.config.run, epoch, self.config.shard, partition, records, digest, self._marks[place], last,
                    self.incarnation,
                ]  # fmt: skip
                self.writer.send_rows(e.EpochClosed.name, np.array([marker], np.int64), partition, family)

    def _epoch(self, epoch: int) -> None:
        assert self._shard is not None
        self.doing = f"wait for the grant of {epoch}"
        while self.clock.granted < epoch:
            self._poll(self.trades)
        self.doing = f"step {epoch}"
        out = self._shard.step(epoch, self.clock.interventions.get(epoch, ()))
        # EpochMatched of e+1 proves that everything of e was acknowledged; that of e says nothing of flows.
        quiet = max(self.assembler.newest_matched.values(), default=OPENING) > epoch
        if epoch == self.last_epoch:
            self._chains.update(epoch, out)  # they are sealed and sent as well
        self._send(epoch, out, quiet)
        posted = self.writer.post()
        self._posted = sum(size for (name, _), size in posted.items() if name == self._flows)
        if epoch != self.last_epoch:
            self._chains.update(epoch, out)  # while others are at work
        for place, names in enumerate((canonical.DECISION_TYPES, canonical.FLOW_TYPES, ("OrderSubmitted",))):
            self.counts[place] += sum(len(rows) for rows in canonical.select(out, names).values())
        self.writer.settle()
        number, taken, _ = self._wait_cut(epoch)
        assert number == epoch
        self.counts[3] += len(taken[TRADES].get(e.TradeExecuted.name, ()))
        self._shard.apply(epoch, taken[FLOWS], taken[TRADES])
        self.cut = epoch
        if (epoch + 1) % self.config.snapshot_every == 0:
            self._snapshot()

    def run(self) -> None:
        """Run to the end.

        Raises StoppedError when the run was aborted, InputError when no shard can run it (its model is not known here,
        a change is not on the menu), ProtocolError when this one cannot go on.
        """
        self._restore()
        gc.collect()
        gc.freeze()  # what is loaded stays: to find that out again, a full collection would hold an epoch up
        try:
            if self._shard is None:
                _, taken, _ = self._wait_cut(OPENING)
                self._shard = self.model.new_shard(self.config.run, self.config.shard, self.shards, taken[FLOWS])
                self.cut = OPENING
            while self.cut < self.last_epoch:
                self._epoch(self.cut + 1)
            self._snapshot()
            self.writer.flush()
            self.doing, self.finished = "finished", True
        finally:
            self.flows.close()
            self.trades.close()
            self.writer.close()

    def refuse(self, why: InputError) -> None:
        """Abort the run, which this shard can never run. Raises StoppedError when that is on the log."""
        reason = f"shard {self.config.shard}: {why}"
        record = {"run": self.config.run, "incarnation": OUTSIDER, "epoch": self.cut, "reason": reason}
        writer = LogWriter(self.config.bootstrap, self.config.namespace)
        writer.send_record("RunAborted", record, 0)
        writer.flush()
        raise StoppedError(f"run {self.config.run} was aborted: {reason}", "start another run") from why

    def status(self) -> dict[str, Any]:
        """Progress for people."""
        return {
            "shard": self.config.shard, "pid": os.getpid(), "cut": self.cut, "doing": self.doing,
            "finished": self.finished, "stopped": self.stopped,
            **dict(zip(COUNTS, self.counts.tolist(), strict=True)),
        }  # fmt: skip


def next_incarnation(newest: int, began: int) -> int:
    """An incarnation above the newest one of a shard on the log.

    Clocks of two nodes differ, and nobody may be taken for the older because its node's is behind. Only among processes
    that start behind the same log the later command's is the newer, in all shards alike: else each of two commands
    could lose one of its shards to the other.
    """
    bits = _BEGAN_BITS + _LOT_BITS
    generation = (max(newest, _FIRST) >> bits) + 1
    return generation << bits | began % (1 << _BEGAN_BITS) << _LOT_BITS | secrets.randbelow(1 << _LOT_BITS)


def split(events: Events, column: int, partition: int, partitions: int) -> Events:
    """The rows of one partition, by the agent or instrument in `column`."""
    if partitions == 1:
        return events
    parts: dict[str, Rows] = {}
    for name, rows in events.items():
        mine = rows[rows[:, column] % partitions == partition]
        if len(mine):
            parts[name] = mine
    return parts

"""A shard on Kafka: the loop that grants, steps, sends, waits for the cut and applies it, and the Ray actor around it.

Restart: the newest snapshot is restored, trades are read to their present end before anything is done, and epochs that
are certainly on the log (an EpochMatched of a later epoch exists) are stepped without sending; the open one is sent
again byte for byte.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from agents.model import Model, Shard
from agents.registry import Models
from economy import canonical
from economy import events as e
from economy.digest import Chains, mark, seal
from economy.errors import InputError, ProtocolError
from economy.events import ChainScope, Events, Rows
from schemas.catalogue import AGENT_SNAPSHOTS, CLOCK, DECISIONS, FLOWS, ORDERS, TRADES, topic
from schemas.log import snapshots
from schemas.log.assembly import OPENING, EpochAssembler
from schemas.log.batchwriter import BatchWriter
from schemas.log.clocklog import OUTSIDER, ClockLog, describes_a_run, read_clock
from schemas.log.follower import Follower
from schemas.log.reader import Place, end_offsets, read_all
from schemas.log.recordbatch import HEAD
from schemas.log.writer import LogWriter
from telemetry.logs import DailyFile, JsonLines

log = logging.getLogger("escape.shard")
_FAMILIES: Final = (
    (DECISIONS, ChainScope.DECISIONS, canonical.DECISION_TYPES, canonical.AGENT),
    (FLOWS, ChainScope.FLOWS, canonical.FLOW_TYPES, canonical.AGENT),
    (ORDERS, ChainScope.ORDERS, canonical.ORDER_TYPES, e.OrderSubmitted.INSTRUMENT),
)
COUNTS: Final = ("decisions", "flows", "orders", "trades")
_WORKER_OF: Final = 1024  # shards per run in a snapshot's owner number


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


class _Kept(NamedTuple):
    """A snapshot's contents."""

    cut: int
    counts: Rows
    chains: Chains
    marks: dict[tuple[str, int], int]
    offsets: dict[Place, int]
    shard: Shard


class StoppedError(ProtocolError):
    """The run was aborted, or another process took over this shard."""


class ShardLoop:
    """The blocking loop of one shard; `run` returns when the run is finished or aborted."""

    def __init__(self, config: ShardConfig) -> None:
        self.config = config
        self.incarnation = time.time_ns() // 1_000_000
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

    @property
    def owner(self) -> int:
        return self.config.run * _WORKER_OF + self.config.shard

    # ---- recovery
    def _restore(self) -> None:
        self.doing = "restore"
        config = self.config
        start: dict[Place, int] = {(CLOCK, 0): 0}
        while self.clock.started is None:
            for chunk in read_all(config.bootstrap, config.namespace, [(CLOCK, 0)]):
                self.clock.feed(chunk)
            if self.clock.started is None:
                time.sleep(0.05)
        self.clock = ClockLog(config.run)  # read again below, from the same reader as everything else
        started = self._started(config)
        if not describes_a_run(started):
            raise InputError("RunStarted", config.run, "it does not say where the run is: it is damaged or forged")
        self.partitions, self.flow_partitions = started["partitions"], started["flow_partitions"]
        self.shards, self.last_epoch = started["shards"], started["last_epoch"]
        self.model: Model = Models(tuple(config.trusted)).of(started)
        for family, count in ((FLOWS, self.flow_partitions), (TRADES, self.partitions)):
            start |= {(family, p): started["start_offsets"][family][p] for p in range(count)}
        found = snapshots.loaded(_snapshots(config.bootstrap, config.namespace), self.owner, self._loaded)
        if found is not None:
            start |= self._take_up(found[1])
        self.assembler = EpochAssembler(
            config.run, self.shards, self.partitions, self.flow_partitions, self.model.epoch_ticks,
            next_epoch=self.cut + 1,
        )  # fmt: skip
        flows = {place: offset for place, offset in start.items() if place[0] == FLOWS}
        self.flows = Follower(config.bootstrap, config.namespace, flows)
        self.trades = Follower(config.bootstrap, config.namespace, {p: start[p] for p in start.keys() - flows.keys()})
        self.writer = BatchWriter(config.bootstrap, config.namespace, config.compress)
        places = [(TRADES, p) for p in range(self.partitions)]
        ends = end_offsets(config.bootstrap, config.namespace, places)
        while any(self.trades.position[place] < ends[place] for place in places):
            self._poll(self.trades)

    def _started(self, config: ShardConfig) -> dict[str, Any]:
        view = ClockLog(config.run)
        for chunk in read_all(config.bootstrap, config.namespace, [(CLOCK, 0)]):
            view.feed(chunk)
        assert view.started is not None
        return view.started

    def _loaded(self, state: snapshots.State) -> _Kept:
        """What a snapshot holds; nothing of this loop changes, since another may have to be taken."""
        families, places = (DECISIONS, FLOWS, ORDERS), (FLOWS, TRADES)
        own = {name.removeprefix("shard/"): value for name, value in state.items() if name.startswith("shard/")}
        return _Kept(
            int(state["loop/cut"][0]),
            state["loop/counts"].copy(),
            Chains.from_rows(state["loop/chains"], self._chains.scopes),
            {(families[f], int(p)): int(value) for f, p, value in state["loop/marks"]},
            {(places[f], int(p)): int(offset) for f, p, offset in state["loop/offsets"]},
            self.model.load_shard(self.config.run, self.config.shard, self.shards, own),
        )

    def _take_up(self, kept: _Kept) -> dict[Place, int]:
        """Go on from a snapshot; returns the offsets to read from."""
        self.cut, self.counts, self._chains, self._marks = kept.cut, kept.counts, kept.chains, kept.marks
        self._shard = kept.shard
        return kept.offsets

    def _snapshot(self) -> None:
        assert self._shard is not None
        self.doing = "snapshot"
        position = self.flows.position | self.trades.position
        offsets = self.assembler.resume_offsets({p: o for p, o in position.items() if p[0] != CLOCK})
        send_snapshot(
            self.writer, self.config.run, self.config.shard, self.cut, self._shard.dump(), self._chains.rows(),
            offsets, self._marks, self.counts,
        )  # fmt: skip

    # ---- one epoch
    def _poll(self, reader: Follower, timeout: float = 0.5, least: int = 1) -> bool:
        """Take in what comes; whether anything did."""
        chunks = reader.poll(timeout, least)
        for chunk in chunks:
            self.clock.feed(chunk)
            self.assembler.add(chunk)
        newest = self.assembler.incarnations.get(self.config.shard, 0)
        if newest > self.incarnation:
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


def _snapshots(bootstrap: str, namespace: str) -> list[bytes]:
    return [value for chunk in read_all(bootstrap, namespace, [(AGENT_SNAPSHOTS, 0)]) for value in chunk.values]


def counts_on_log(bootstrap: str, namespace: str, run: int, shards: int) -> Rows | None:
    """A row of COUNTS for each shard of a finished run, from its last snapshots; None while one is not there yet."""
    (last_epoch,) = {c.started["last_epoch"] for c in [read_clock(bootstrap, namespace, run)] if c.started}
    values, counts = _snapshots(bootstrap, namespace), []
    for shard in range(shards):
        found = snapshots.loaded(
            values, run * _WORKER_OF + shard, lambda state: (int(state["loop/cut"][0]), state["loop/counts"])
        )
        if found is None or found[1][0] != last_epoch:
            return None
        counts.append(found[1][1])
    return np.array(counts, np.int64)


def send_snapshot(
    writer: LogWriter | BatchWriter, run: int, shard: int, cut: int, state: snapshots.State, chains: Rows,
    offsets: Mapping[Place, int], marks: Mapping[Place, int], counts: Rows,
) -> None:  # fmt: skip
    """Queue the snapshot from which a shard goes on behind a cut; a fork's shards begin with one."""
    families, places = (DECISIONS, FLOWS, ORDERS), (FLOWS, TRADES)
    whole: snapshots.State = {f"shard/{name}": value for name, value in state.items()}
    whole["loop/cut"] = np.array([cut], np.int64)
    whole["loop/counts"] = counts.copy()
    whole["loop/chains"] = chains
    whole["loop/marks"] = np.array(
        [(families.index(f), p, value) for (f, p), value in marks.items()], np.int64
    ).reshape(-1, 3)
    whole["loop/offsets"] = np.array([(places.index(f), p, o) for (f, p), o in offsets.items()], np.int64)
    for key, value in snapshots.pack(run * _WORKER_OF + shard, cut + 2, whole):
        writer.send(AGENT_SNAPSHOTS, 0, value, b"%d." % run + key)


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


def _handler(log_file: str, run: int) -> logging.Handler:
    """The run's folder where it is on this machine too, else stderr, which Ray keeps among its node's logs.

    An actor that cannot be made is made again for ever, so a log that cannot be written must not stop it.
    """
    try:
        handler: logging.Handler = DailyFile(Path(log_file))
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(JsonLines("shard", run))
    return handler


class ShardActor:
    """What Ray runs: the loop in a thread, so that calls are answered meanwhile. Wrapped by `start_actor`."""

    def __init__(self, config: Mapping[str, Any], log_file: str) -> None:
        logging.basicConfig(handlers=[_handler(log_file, config["run"])], level=logging.INFO)
        log.info("shard %d starts", config["shard"])  # each start: a run's log tells how often it was started again
        self.loop = ShardLoop(ShardConfig(**config))
        threading.Thread(target=self._guarded, daemon=True).start()

    def _guarded(self) -> None:
        try:
            try:
                self.loop.run()
            except InputError as error:  # of the run's record or a change: every other start would meet it again
                self.loop.refuse(error)
        except StoppedError as error:
            log.warning("shard %d ends: %s", self.loop.config.shard, error)
            self.loop.doing, self.loop.stopped = error.message, True
        except BaseException as error:
            log.critical("shard %d ends while: %s", self.loop.config.shard, self.loop.doing, exc_info=error)
            logging.shutdown()
            os._exit(1)  # Ray starts the actor again, which restores the newest snapshot

    def status(self) -> dict[str, Any]:
        """Progress of the loop."""
        return self.loop.status()


def start_actor(config: ShardConfig, log_file: str) -> Any:
    """A Ray actor that Ray restarts whenever its process dies."""
    import ray

    untyped: Any = ray.remote
    # They ask for no processor, so Ray would put all of them on the first node.
    remote = untyped(num_cpus=0, max_restarts=-1, max_concurrency=4, scheduling_strategy="SPREAD")(ShardActor)
    return remote.remote(asdict(config), log_file)

"""What the clock topic says about one run: a fold over its records that every reader computes alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.catalogue import CLOCK, DECISIONS, EVENTS, FLOWS, ORDERS, TRADES
from schemas.codec import decode_record
from schemas.log.reader import Chunk, read_all

DELETED: Final = "deleted by `escape runs delete`"  # reason of the RunAborted that hides a run
OUTSIDER: Final = 2**62  # incarnation of what others than a clock write, which no successor of a clock outdates


KINDS: Final = frozenset(name for name, event in EVENTS.items() if event.topic == CLOCK)


@dataclass
class ClockLog:
    """State of a run's clock. Records of an older incarnation than the newest are a zombie's and do not count."""

    run: int
    started: dict[str, Any] | None = None
    incarnation: int = 0
    granted: int = -1
    offsets: list[int] | None = None
    paused: bool = False
    pace: int = 0
    interventions: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    finished: dict[str, Any] | None = None
    aborted: str | None = None

    def feed(self, chunk: Chunk) -> None:
        """Take in a chunk of the clock topic; other chunks are ignored."""
        for name, record in clock_records(chunk):
            if record["run"] == self.run:
                self.apply(name, record)

    def apply(self, name: str, record: dict[str, Any]) -> None:
        """Take in one record of the run, decoded; one of a kind that the clock's topic does not hold is passed."""
        if name not in KINDS:
            return
        if name == "RunStarted":
            self.started = self.started or record
            return
        if name == "ClockStarted":
            self.incarnation = max(self.incarnation, record["incarnation"])
            return
        if record["incarnation"] < self.incarnation:
            return
        if name == "EpochGranted" and record["epoch"] > self.granted:
            self.granted, self.offsets = record["epoch"], record["offsets"]
        elif name in ("RunPaused", "RunResumed"):
            self.paused = name == "RunPaused"
        elif name == "PaceChanged":
            self.pace = record["pace"]
        elif name == "InterventionApplied":
            # Written again by a clock that died before the run had started, or by somebody who changed his mind.
            applied = self.interventions.setdefault(record["epoch"], [])
            applied[:] = [known for known in applied if known[0] != record["key"]]
            applied.append((record["key"], record["value"]))
        elif name == "RunFinished":
            self.finished = record
        elif name == "RunAborted" and self.aborted != DELETED:
            self.aborted = record["reason"]

    @property
    def ended(self) -> bool:
        """True when nothing more will be granted."""
        return self.finished is not None or self.aborted is not None


def describes_a_run(started: Mapping[str, Any]) -> bool:
    """Whether a RunStarted says where a run is, as one that a clock has written does."""
    counts = {family: started["flow_partitions"] for family in (DECISIONS, FLOWS)}
    counts |= {family: started["partitions"] for family in (ORDERS, TRADES)}

    def placed(offsets: Mapping[str, list[int]]) -> bool:
        return all(
            len(offsets.get(family, ())) == count and min(offsets[family]) >= 0 for family, count in counts.items()
        )

    sizes = min(started["shards"], started["epoch_ticks"], *counts.values())
    forked = not started["parent"] or (started["parent"] != started["run"] and placed(started["parent_offsets"]))
    return sizes > 0 and started["last_epoch"] >= -1 and placed(started["start_offsets"]) and forked


def clock_records(chunk: Chunk) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, fields) of a chunk of the clock topic, in order; of any other chunk nothing.

    What cannot be decoded, a newer version's records among it, is passed: the sink buries it. So is what another topic
    holds.
    """
    if chunk.family != CLOCK:
        return
    defects = {position for position, _ in chunk.defects}
    for position, value in enumerate(chunk.values):
        if position not in defects and (found := decode_record(value))[0] in KINDS:
            yield found


def read_clock(bootstrap: str, namespace: str, run: int) -> ClockLog:
    """The present state of a run's clock."""
    state = ClockLog(run)
    for chunk in read_all(bootstrap, namespace, [(CLOCK, 0)]):
        state.feed(chunk)
    return state


def read_clocks(bootstrap: str, namespace: str) -> Iterator[ClockLog]:
    """Every run on the clock topic, in the order of their start."""
    states: dict[int, ClockLog] = {}
    for chunk in read_all(bootstrap, namespace, [(CLOCK, 0)]):
        for name, record in clock_records(chunk):
            states.setdefault(record["run"], ClockLog(record["run"])).apply(name, record)
    yield from states.values()

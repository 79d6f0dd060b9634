"""The history of a run: its ancestors up to the cuts where each fork left them, then the run itself.

A fork shares everything before its cut with its parent by reference: RunStarted names the parent, the last epoch in
common and the offsets behind which the parent's log holds nothing of it. Whoever reads a run reads its history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from economy.errors import ProtocolError, UnknownRunError
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.assembly import OPENING, EpochAssembler
from schemas.log.clocklog import ClockLog, describes_a_run, read_clocks
from schemas.log.reader import Chunk, Place, end_offsets, read_range

FAMILIES = (FLOWS, DECISIONS, ORDERS, TRADES)


@dataclass(frozen=True)
class Segment:
    """Epochs `first` to `last` of one run, all within [start, end) of the log; `end` is empty while the run goes on."""

    clock: ClockLog
    first: int
    last: int
    start: Mapping[Place, int]
    end: Mapping[Place, int]

    @property
    def run(self) -> int:
        return self.clock.run

    @property
    def started(self) -> dict[str, Any]:
        """The run's RunStarted."""
        assert self.clock.started is not None
        return self.clock.started

    def until(self, epoch: int) -> Segment:
        """The segment without the epochs behind a cut."""
        return Segment(self.clock, self.first, min(self.last, epoch), self.start, self.end)

    def extent(
        self, bootstrap: str, namespace: str, families: Sequence[str] = FAMILIES
    ) -> tuple[dict[Place, int], dict[Place, int]]:
        """(start, end) per partition of some families; the present end where the run goes on."""
        start = {place: offset for place, offset in self.start.items() if place[0] in families}
        end = {place: self.end[place] for place in start} if self.end else {}
        return start, end or end_offsets(bootstrap, namespace, list(start))

    def assembler(self, families: Sequence[str] = FAMILIES) -> EpochAssembler:
        """What puts the segment's epochs together."""
        s, first = self.started, self.first if FLOWS in families else max(0, self.first)  # the opening is flows
        return EpochAssembler(
            self.run, s["shards"], s["partitions"], s["flow_partitions"], s["epoch_ticks"], families, first
        )


def by_place(offsets: Mapping[str, Sequence[int]]) -> dict[Place, int]:
    """Offsets by (topic, partition) from lists by topic, as the clock's records hold them."""
    return {(family, p): offset for family, found in offsets.items() for p, offset in enumerate(found)}


def history(clocks: Mapping[int, ClockLog], run: int) -> tuple[Segment, ...]:
    """Segments of a run in order, its eldest ancestor first.

    Raises UnknownRunError for a run that never started, ProtocolError when an ancestor is not on the log.
    """
    clock = clocks.get(run)
    if clock is None or clock.started is None:
        raise UnknownRunError("run", run, "`escape runs list` shows the runs")
    _check(clock)
    end = by_place(clock.finished["end_offsets"]) if clock.finished else {}
    segments = [Segment(clock, OPENING, clock.started["last_epoch"], by_place(clock.started["start_offsets"]), end)]
    while parent := segments[0].started["parent"]:
        child = segments[0].started
        if any(parent == segment.run for segment in segments):
            raise ProtocolError(f"run {run} is a fork of itself by way of run {child['run']}", "the log is forged")
        elder = clocks.get(parent)
        if elder is None or elder.started is None:
            raise ProtocolError(
                f"run {child['run']} was forked from run {parent}, which is not on the log", "import it"
            )
        _check(elder)
        cut = child["parent_epoch"]
        segments[0] = Segment(segments[0].clock, cut + 1, segments[0].last, segments[0].start, segments[0].end)
        start, end = by_place(elder.started["start_offsets"]), by_place(child["parent_offsets"])
        segments.insert(0, Segment(elder, OPENING, cut, start, end))
    return tuple(segments)


def _check(clock: ClockLog) -> None:
    assert clock.started is not None
    if not describes_a_run(clock.started):
        raise ProtocolError(f"the record of run {clock.run} does not say where it is", "it is damaged or forged")


def read_history(bootstrap: str, namespace: str, run: int) -> tuple[Segment, ...]:
    """The same, read from the clock's topic."""
    return history({clock.run: clock for clock in read_clocks(bootstrap, namespace)}, run)


def interventions(segments: Sequence[Segment]) -> dict[int, list[tuple[str, str]]]:
    """What was changed from outside, by epoch; each epoch's are those of the run that it belongs to."""
    return {
        epoch: applied
        for segment in segments
        for epoch, applied in segment.clock.interventions.items()
        if segment.first <= epoch <= segment.last
    }


def read_chunks(
    bootstrap: str, namespace: str, segment: Segment, families: Sequence[str] = FAMILIES
) -> Iterator[Chunk]:
    """Records of a segment's range, those of other runs among them."""
    yield from read_range(bootstrap, namespace, *segment.extent(bootstrap, namespace, families))


Read = Callable[[str, str, Segment, Sequence[str]], Iterator[Chunk]]


def read_epochs(
    bootstrap: str,
    namespace: str,
    segments: Sequence[Segment],
    families: Sequence[str] = FAMILIES,
    read: Read = read_chunks,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Unique records epoch by epoch, the opening first: (epoch, family -> events in canonical order).

    The column `run` holds the run that each epoch was computed in. Ends where the log does when the run goes on.
    """
    for segment in segments:
        assembler = segment.assembler(families)
        for chunk in read(bootstrap, namespace, segment, families):
            assembler.add(chunk)
            while assembler.next_epoch <= segment.last and assembler.complete():
                yield assembler.take()[:2]
            if assembler.next_epoch > segment.last:
                break
        else:
            return

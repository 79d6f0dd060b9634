"""Replay of a run from its log: three proofs, each "identical through epoch E" or the first divergence.

Integrity: the records are those that their writers closed each epoch with. State: ledger and indicators folded from the
log's events equal the recorded ones. Re-execution: decisions, matching and all that follows, computed again from the
scenario and the seed, equal the log. The first two hold for any version; the third only where the same rules, locked
environment and CPU architecture compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from economy.calendar import Calendar
from economy.errors import AccountingError, ProtocolError
from economy.events import Events
from economy.indicators import Window, WindowProjection
from economy.scenario import Scenario
from runs import reexecution
from runs.derived import Derived, read_derived
from runs.protocol import cut_at, unlike_here
from runs.rawread import raw_chunks
from runs.verify import Audit, Verdict, heads_of, together
from schemas.catalogue import FLOWS, TRADES
from schemas.log.assembly import EpochAssembler
from schemas.log.founding import founding
from schemas.log.history import Segment, interventions, read_history
from streams.projection import village_of

Told = Callable[[int, int], None]  # (records done, records in all)
ALL = -2  # no limit


class Status(StrEnum):
    """Outcome of a proof."""

    IDENTICAL = "identical"
    DIVERGED = "diverged"
    NOT_DONE = "not done"


@dataclass(frozen=True)
class Answer:
    """Outcome of one proof: identical through an epoch, then the reason and both sides where it diverged."""

    status: Status
    through: int
    reason: str = ""
    recorded: Mapping[str, Any] | None = None
    computed: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        if self.status == Status.NOT_DONE:
            return f"not done: {self.reason}"
        told = f"identical through epoch {self.through}"
        if self.status == Status.IDENTICAL:
            return told + (f" ({self.reason})" if self.reason else "")
        return f"{told}, then {self.reason}\n    recorded {self.recorded}\n    computed {self.computed}"

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Replay:
    """The three answers; `verdict` has the details of integrity."""

    run: int
    until: int
    integrity: Answer
    state: Answer
    execution: Answer
    verdict: Verdict

    @property
    def answers(self) -> dict[str, Answer]:
        """By name."""
        return {"integrity": self.integrity, "state": self.state, "re-execution": self.execution}

    @property
    def proven(self) -> bool:
        """True when nothing diverged."""
        return all(answer.status != Status.DIVERGED for answer in self.answers.values())

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        answers = {name: answer.to_json() for name, answer in self.answers.items()}
        known = {"records": self.verdict.records, "retries": self.verdict.retries, "digest": self.verdict.digest,
                 "root": self.verdict.root}  # fmt: skip
        return {"run": self.run, "until_epoch": self.until, "proven": self.proven, **answers, **known}


class StateProof:
    """Folds the log's flows and trades into ledger and indicators and compares each window with the recorded one."""

    def __init__(self, projection: WindowProjection, time: Calendar, recorded: Derived) -> None:
        self._projection, self._time, self._recorded = projection, time, recorded
        self.through = -1
        self.compared = 0
        self.answer: Answer | None = None  # once it diverged

    def feed(self, epoch: int, events: Events) -> None:
        """Take in one epoch."""
        if self.answer is not None:
            return
        try:
            window = self._projection.feed(epoch, events)
        except AccountingError as error:
            self.answer = Answer(Status.DIVERGED, epoch - 1, str(error))
            return
        if window is not None:
            self._compare(window, epoch)
        self.through = epoch

    def _compare(self, window: Window, epoch: int) -> None:
        difference = self._recorded.differs(window)
        if difference is not None:
            what, recorded, computed = difference
            begin = epoch - self._time.window_ticks // self._time.epoch_ticks
            said = f"window {window.window} differs in {what}"
            self.answer = Answer(Status.DIVERGED, begin, said, {what: recorded}, {what: computed})
        self.compared += self._recorded.holds(window.window)

    def end(self, broken: str) -> Answer:
        """The answer; `broken` says why no more epochs came than there were."""
        if self.answer is not None:
            return self.answer
        if broken:
            return Answer(Status.DIVERGED, self.through, broken)
        said = "" if self.compared else "its books close, but no window has been recorded: `escape up` lets that happen"
        return Answer(Status.IDENTICAL, self.through, said)


def replay(bootstrap: str, namespace: str, run: int, until_tick: int | None = None, told: Told | None = None) -> Replay:
    """Prove a run from its log, up to a tick or as far as it got.

    Raises UnknownRunError, and InputError for a tape or a tick inside an epoch.
    """
    segments = read_history(bootstrap, namespace, run)
    own = segments[-1]
    until = own.last
    if until_tick is not None:
        until = cut_at(until_tick, own.started["epoch_ticks"], own.last)
        segments = tuple(segment.until(until) for segment in segments if segment.first <= max(until, segment.first))
        segments = tuple(segment for segment in segments if segment.first <= segment.last)
    scenario = village_of(own.clock)
    proof = _state_proof(bootstrap, namespace, own, segments[0], scenario) if scenario else None
    why = unlike_here(own.started)
    job = None if why else reexecution.start(own.started, interventions(segments), until)
    try:
        verdict, markers, broken = _read(bootstrap, namespace, segments, proof, told)
        execution = Answer(Status.NOT_DONE, -1, why)
        if job is not None:
            execution = _compare(bootstrap, namespace, segments, verdict, markers, job)
    finally:
        if job is not None:
            job.stop()
    integrity = Answer(Status.IDENTICAL, verdict.through)
    if verdict.findings:
        integrity = Answer(Status.DIVERGED, verdict.through, str(verdict.findings[0]))
    state = proof.end(broken) if proof else Answer(Status.NOT_DONE, -1, "the run has no village to keep accounts of")
    return Replay(run, until, integrity, state, execution, verdict)


def _state_proof(bootstrap: str, namespace: str, own: Segment, first: Segment, scenario: Scenario) -> StateProof:
    founded = founding(bootstrap, namespace, first.started)
    projection = WindowProjection(own.run, scenario, founded.roles, founded.instruments)
    return StateProof(projection, scenario.time, read_derived(bootstrap, namespace, own.run))


Markers = dict[tuple[int, str, int, int], tuple[int, int]]  # (epoch, topic, partition, writer) -> (count, digest)


def _read(
    bootstrap: str, namespace: str, segments: Sequence[Segment], proof: StateProof | None, told: Told | None
) -> tuple[Verdict, Markers, str]:
    """One pass over the log for integrity and state: the verdict, all markers, and why the epochs end too early."""
    extents = [segment.extent(bootstrap, namespace) for segment in segments]
    total = sum(end[place] - start[place] for start, end in extents for place in start)
    done, broken, verdicts, markers, inherited = 0, "", [], Markers(), None
    for segment in segments:
        audit, assembler = Audit(segment, inherited), segment.assembler((FLOWS, TRADES))
        for chunk in raw_chunks(bootstrap, namespace, segment):
            audit.feed(chunk)
            if proof is not None and not broken:
                broken = _fold(assembler, segment, chunk, proof)
            done += len(chunk.offsets)
            if told is not None:
                told(done, total)
        verdicts.append(audit.verdict())
        inherited = heads_of(audit)
        for (family, partition), each in audit.audits.items():
            for epoch, writer, count, digest in each.markers():
                markers[epoch, family, partition, writer] = count, digest
        if assembler.next_epoch <= min(segment.last, verdicts[-1].through) and proof is not None:
            broken = broken or f"epoch {assembler.next_epoch} is not whole: {assembler.missing(assembler.next_epoch)}"
    return together(verdicts), markers, broken


def _fold(assembler: EpochAssembler, segment: Segment, chunk: Any, proof: StateProof) -> str:
    try:
        assembler.add(chunk)
        while assembler.next_epoch <= segment.last and assembler.complete():
            epoch, families, _ = assembler.take()
            proof.feed(epoch, {name: rows for part in families.values() for name, rows in part.items()})
    except ProtocolError as error:
        return error.message
    return ""


def _compare(
    bootstrap: str, namespace: str, segments: Sequence[Segment], verdict: Verdict, markers: Markers,
    job: reexecution.Job,
) -> Answer:  # fmt: skip
    """The log's markers against the re-executed ones, then record by record where they differ."""
    computed = job.result()
    reached = max((epoch for epoch, *_ in markers), default=-1)
    wrong = {
        key for key in markers.keys() | computed.keys() if key[0] <= reached and markers.get(key) != computed.get(key)
    }
    # Where records are not what their markers say, the records decide.
    bad = {(f.epoch, f.topic, f.partition, f.writer) for f in verdict.findings if f.writer >= 0 and f.epoch >= 0}
    suspects = sorted(wrong | bad, key=lambda key: (key[0], reexecution.ORDER.index(key[1]), *key[2:]))
    found = reexecution.difference(bootstrap, namespace, segments, job, suspects) if suspects else None
    if found is not None:
        (epoch, family, partition, writer), sides = found
        said = f"epoch {epoch} differs in {family}[{partition}] of writer {writer}"
        return Answer(Status.DIVERGED, epoch - 1, said, *sides)
    if wrong:
        epoch, family, partition, writer = min(wrong)
        said = f"the marker of epoch {epoch} in {family}[{partition}] of writer {writer} differs"
        return Answer(Status.DIVERGED, epoch - 1, said)
    return Answer(Status.IDENTICAL, min(reached, verdict.last_epoch))

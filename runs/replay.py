"""Replay of a run from its log: three proofs, each "identical through epoch E" or the first divergence.

Integrity: the records are those that their writers closed each epoch with. State: ledger and indicators folded from the
log's events equal the recorded ones. Re-execution: decisions, matching and all that follows, computed again from the
scenario and the seed, equal the log. The first two hold for any version; the third only where the same rules, locked
environment and CPU architecture compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

import numpy as np

from agents.registry import OWN_MODELS, Models, model_name
from economy.calendar import Calendar
from economy.errors import AccountingError, InputError, ProtocolError
from economy.indicators import Window, WindowProjection
from economy.records import canonical
from economy.records.events import Events
from economy.scenario import Scenario
from runs.beside import Job
from runs.derived import Derived, read_derived
from runs.divergence import ORDER, computed_markers
from runs.progress import Told
from runs.protocol import cut_at, unlike_here
from runs.rawread import raw_chunks
from runs.tapeproof import audit_tape, tape_difference
from runs.unmarked import unmarked
from runs.verify import Audit, heads_of, together
from schemas.catalogue import FLOWS, TRADES
from schemas.log.assembly import EpochAssembler
from schemas.log.findings import Verdict
from schemas.log.founding import founding, village_of
from schemas.log.history import Segment, interventions, read_history
from schemas.log.reader import Place

_LOOK: Final = 0.1  # seconds between two looks at a process that computes


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
        if self.status == Status.IDENTICAL and self.through < 0 and self.reason:
            return f"identical ({self.reason})"
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


def replay(
    bootstrap: str, namespace: str, run: int, until_tick: int | None = None, told: Told | None = None,
    job: Job | None = None, models: Models = OWN_MODELS,
) -> Replay:  # fmt: skip
    """Prove a run from its log, up to a tick or as far as it got; `job` is a process that waits already.

    Raises UnknownRunError, and InputError for a tick inside an epoch and for a model that is not among `models`.
    """
    if job is None:
        with Job() as started:
            return replay(bootstrap, namespace, run, until_tick, told, started, models)
    segments = read_history(bootstrap, namespace, run)
    own = segments[-1]
    if own.started["last_epoch"] < 0:
        return _replay_tape(bootstrap, namespace, own, until_tick, told)
    models.check(*(model_name(segment.started) for segment in segments))
    until = own.last
    if until_tick is not None:
        until = cut_at(until_tick, own.started["epoch_ticks"], own.last)
        segments = tuple(segment.until(until) for segment in segments if segment.first <= max(until, segment.first))
        segments = tuple(segment for segment in segments if segment.first <= segment.last)
    why = unlike_here(own.started)
    if not why:
        job.begin(own.started, interventions(segments), until, models.trusted)
    pace = _Pace(told, None if why else job, until + 1)
    verdict, markers, state = _read(bootstrap, namespace, segments, pace, careful=False)
    if verdict.findings:  # the first pass hands over only what is as its markers say
        verdict, markers, state = _read(bootstrap, namespace, segments, pace, careful=True)
    verdict = replace(verdict, findings=(*verdict.findings, *unmarked(bootstrap, namespace, segments)))
    execution = Answer(Status.NOT_DONE, -1, why)
    if not why:
        pace.wait()
        execution = _compare(bootstrap, namespace, segments, verdict, markers, computed_markers(job), models)
    integrity = Answer(Status.IDENTICAL, verdict.through)
    if verdict.findings:
        integrity = Answer(Status.DIVERGED, verdict.through, str(verdict.findings[0]))
    return Replay(run, until, integrity, state, execution, verdict)


def _replay_tape(bootstrap: str, namespace: str, segment: Segment, until_tick: int | None, told: Told | None) -> Replay:
    """A tape has orders that somebody else decided on: they are matched again."""
    if until_tick is not None:
        raise InputError("until_tick", until_tick, "a tape has no cuts: leave it out")
    audit = audit_tape(bootstrap, namespace, segment, told)
    verdict = audit.verdict()
    verdict = replace(verdict, findings=(*verdict.findings, *unmarked(bootstrap, namespace, [segment])))
    integrity = Answer(Status.IDENTICAL, -1, f"{verdict.records} records give the digest {verdict.digest}")
    if verdict.findings:
        integrity = Answer(Status.DIVERGED, -1, str(verdict.findings[0]))
    state = Answer(Status.NOT_DONE, -1, "not applicable to a tape: nobody keeps accounts of it")
    execution = Answer(Status.IDENTICAL, -1, "the tape's orders matched again give the log's output")
    for partition in audit.differing():
        sides = tape_difference(raw_chunks(bootstrap, namespace, segment), segment, partition)
        said = f"the output of matching in partition {partition} differs"
        execution = Answer(Status.DIVERGED, -1, said, *(sides or (None, None)))
        break
    return Replay(segment.run, -1, integrity, state, execution, verdict)


class _Pace:
    """Progress in records: as many are done as have been read, and their epochs computed again."""

    def __init__(self, told: Told | None, job: Job | None, epochs: int) -> None:
        self._told, self._job, self._epochs = told, job, epochs
        self._read = self._total = 0

    def tell(self, read: int, total: int) -> None:
        """As many records of all have been read."""
        self._read, self._total = read, total
        if self._told is not None:
            computed = total
            if self._job is not None and self._epochs:
                computed = total * self._job.epochs // self._epochs
            self._told(min(read, computed), total)

    def wait(self) -> None:
        """Until the job has ended."""
        while self._job is not None and not self._job.wait(_LOOK):
            self.tell(self._read, self._total)
        self.tell(self._read, self._total)


def _state_proof(bootstrap: str, namespace: str, own: Segment, first: Segment, scenario: Scenario) -> StateProof:
    founded = founding(bootstrap, namespace, first.started)
    projection = WindowProjection(own.run, scenario, founded.roles, founded.instruments)
    return StateProof(projection, scenario.time, read_derived(bootstrap, namespace, own.run))


Markers = dict[tuple[int, str, int, int], tuple[int, int]]  # (epoch, topic, partition, writer) -> (count, digest)


class _Whole:
    """Puts together the epochs whose records partitions hand over, and feeds them to the proof of the state."""

    def __init__(self, segment: Segment, proof: StateProof) -> None:
        self._proof, self._next = proof, segment.first
        self._from = {place: max(0, segment.first) if place[0] == TRADES else segment.first for place in segment.start
                      if place[0] in (FLOWS, TRADES)}  # fmt: skip
        self._parts: dict[int, list[Events]] = {}

    def take(self, place: Place, events: Events, epochs: Mapping[str, Any], whole: int) -> None:
        """All records of a partition of the epochs below `whole` that have not been handed over."""
        if place not in self._from:
            return
        for name, rows in events.items():
            of = epochs[name]
            if (np.diff(of) < 0).any():
                order = np.argsort(of, kind="stable")
                rows, of = rows[order], of[order]
            bounds = [0, *(np.flatnonzero(np.diff(of)) + 1).tolist(), len(of)] if len(of) else [0]
            for low, high in pairwise(bounds):
                self._parts.setdefault(int(of[low]), []).append({name: rows[low:high]})
        self._from[place] = whole
        while self._next < min(self._from.values()):
            self._proof.feed(self._next, canonical.merge(self._parts.pop(self._next, [])))
            self._next += 1


def _read(
    bootstrap: str, namespace: str, segments: Sequence[Segment], pace: _Pace, careful: bool
) -> tuple[Verdict, Markers, Answer]:
    """One pass over the log for integrity and state: the verdict, all markers, and the state's answer.

    A careful one folds the state from whatever records there are.
    """
    own, scenario = segments[-1], village_of(segments[-1].clock)
    proof = _state_proof(bootstrap, namespace, own, segments[0], scenario) if scenario else None
    extents = [segment.extent(bootstrap, namespace) for segment in segments]
    total = sum(end[place] - start[place] for start, end in extents for place in start)
    done, broken, verdicts, markers, inherited = 0, "", [], Markers(), None
    for segment in segments:
        whole = _Whole(segment, proof).take if proof is not None and not careful else None
        audit, assembler = Audit(segment, inherited, on_whole=whole), segment.assembler((FLOWS, TRADES))
        for chunk in raw_chunks(bootstrap, namespace, segment):
            audit.feed(chunk)
            if careful and proof is not None and not broken:
                broken = _fold(assembler, segment, chunk, proof)
            done += len(chunk.offsets)
            pace.tell(done, total)
        verdicts.append(audit.verdict())
        inherited = heads_of(audit)
        for (family, partition), each in audit.audits.items():
            for epoch, writer, count, digest in each.markers():
                markers[epoch, family, partition, writer] = count, digest
        if careful and assembler.next_epoch <= min(segment.last, verdicts[-1].through) and proof is not None:
            broken = broken or f"epoch {assembler.next_epoch} is not whole: {assembler.missing(assembler.next_epoch)}"
    state = proof.end(broken) if proof else Answer(Status.NOT_DONE, -1, "the run has no village to keep accounts of")
    return together(verdicts), markers, state


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
    bootstrap: str, namespace: str, segments: Sequence[Segment], verdict: Verdict, markers: Markers, computed: Markers,
    models: Models,
) -> Answer:  # fmt: skip
    """The log's markers against the re-executed ones, then record by record where they differ."""
    reached = max((epoch for epoch, *_ in markers), default=-1)
    wrong = {
        key for key in markers.keys() | computed.keys() if key[0] <= reached and markers.get(key) != computed.get(key)
    }
    # Where records are not what their markers say, the records decide.
    bad = {(f.epoch, f.topic, f.partition, f.writer) for f in verdict.findings if f.writer >= 0 and f.epoch >= 0}
    suspects = sorted(wrong | bad, key=lambda key: (key[0], ORDER.index(key[1]), *key[2:]))
    found = None
    if suspects:
        from runs.reexecution import difference  # with all agents, who are needed here only then

        found = difference(bootstrap, namespace, segments, suspects, models)
    if found is not None:
        (epoch, family, partition, writer), sides = found
        said = f"epoch {epoch} differs in {family}[{partition}] of writer {writer}"
        return Answer(Status.DIVERGED, epoch - 1, said, *sides)
    if wrong:
        epoch, family, partition, writer = min(wrong)
        said = f"the marker of epoch {epoch} in {family}[{partition}] of writer {writer} differs"
        return Answer(Status.DIVERGED, epoch - 1, said)
    return Answer(Status.IDENTICAL, min(reached, verdict.last_epoch))

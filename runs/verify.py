"""Verification of a run: every partition audited, the root and the digest recomputed, and what RunFinished claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from economy.errors import InputError
from economy.records.digest import run_digest
from economy.records.events import Rows
from runs.progress import Told
from runs.rawread import raw_chunks
from runs.tapeproof import audit_tape
from runs.unmarked import unmarked
from schemas.catalogue import CLOCK
from schemas.log.assembly import STARTER
from schemas.log.audit import OnWhole, PlaceAudit
from schemas.log.findings import NOBODY, Fault, Finding, Verdict
from schemas.log.history import FAMILIES, Segment, read_history
from schemas.log.reader import Chunk


class Audit:
    """All partitions of one segment of a run's history. `feed` takes chunks in offset order, `verdict` ends it."""

    def __init__(
        self, segment: Segment, inherited: Rows | None = None, chained: bool = True, on_whole: OnWhole | None = None
    ) -> None:
        """`inherited` are the chains' heads at the cut that a fork starts from; `chained` asks for the digest.

        `on_whole` as PlaceAudit has it.
        """
        self.segment, self.started = segment, segment.started
        if self.started["last_epoch"] < 0:
            raise InputError("run", segment.run, "a tape has no epochs whose markers could be verified")
        self.audits = {
            place: PlaceAudit(self.started, place, segment.first, segment.last, chained, on_whole)
            for place in segment.start
        }
        if inherited is not None and chained:
            for audit in self.audits.values():
                audit.restore_chains(inherited)

    def feed(self, chunk: Chunk) -> None:
        """Take in one chunk."""
        audit = self.audits.get(chunk.place)
        if audit is not None:
            audit.feed(chunk)

    def verdict(self, expect: str = "") -> Verdict:
        """Judge. `expect` is the root that somebody wrote down when the run ended."""
        whole = self.segment.last < self.started["last_epoch"]  # of an ancestor: all that is shared must be there
        finished = None if whole else self.segment.clock.finished
        for audit in self.audits.values():
            audit.finish(whole or finished is not None, closed=finished is not None)
        findings = [finding for audit in self.audits.values() for finding in audit.findings]
        reached = (
            min(min(audit.next_of(writer) for writer in range(audit.shards)) for audit in self.audits.values()) - 1
        )
        root, digest = self._root(), ""
        if finished is not None:
            digest = self._digest()
            findings += self._claims(finished, root, digest, expect, bool(findings))
        through = min([reached, *(finding.epoch - 1 for finding in findings)])
        findings.sort(key=lambda f: (f.epoch, f.topic, f.partition, f.offset))
        return Verdict(
            self.segment.run, through, self.segment.last, sum(a.records for a in self.audits.values()),
            sum(a.retries for a in self.audits.values()), digest, root, tuple(findings),
        )  # fmt: skip

    def _root(self) -> str:
        """Root of the chains' last values, as the clock makes it."""
        chains = sorted(
            [audit.family, audit.partition, writer, chain]
            for audit in self.audits.values()
            for writer, chain in audit.chain.items()
            if writer != STARTER
        )
        return blake2b(json.dumps(chains).encode(), digest_size=16).hexdigest()

    def _digest(self) -> str:
        """Digest of the run from its records; "" where the chains were not asked for."""
        chains = [audit.chains for audit in self.audits.values() if audit.chains is not None]
        return run_digest(tuple(row) for each in chains for row in each.rows().tolist()) if chains else ""

    def _claims(self, finished: Mapping[str, Any], root: str, digest: str, expect: str, faulty: bool) -> list[Finding]:
        """What RunFinished says against what the log gives; faults in the records explain a difference already."""
        last, found = self.started["last_epoch"], []

        def claim(what: str) -> None:
            found.append(Finding(Fault.CHANGED, CLOCK, 0, -1, -1, NOBODY, last + 1, what))

        if expect and expect != finished["root"]:
            claim(f"RunFinished holds the root {finished['root']}, not the expected {expect}")
        if root != finished["root"] and not faulty:
            claim(f"RunFinished holds the root {finished['root']}, but the markers give {root}")
        if digest and digest != finished["digest"] and not faulty:
            claim(f"RunFinished holds the digest {finished['digest']}, but the records give {digest}")
        sealed = {head for audit in self.audits.values() for head in audit.heads}
        if run_digest(sealed) != finished["digest"]:
            claim("the sealed heads do not give the digest of RunFinished")
        return found


def heads_of(audit: Audit) -> Rows:
    """Heads of all chains of a segment, for the one that follows."""
    return np.concatenate([each.chains.rows() for each in audit.audits.values() if each.chains is not None])


def verify_run(bootstrap: str, namespace: str, run: int, expect: str = "", told: Told | None = None) -> Verdict:
    """Verify a run with its ancestors. `told(done, total)` hears of the progress in records."""
    segments = read_history(bootstrap, namespace, run)
    if segments[-1].started["last_epoch"] < 0:
        if expect:
            raise InputError("expect", expect, "a tape has no markers, so no root: its digest speaks for it")
        verdict = audit_tape(bootstrap, namespace, segments[-1], told).verdict()
    else:
        verdict = _verify(bootstrap, namespace, segments, expect, told)
    return replace(verdict, findings=(*verdict.findings, *unmarked(bootstrap, namespace, segments)))


def _verify(bootstrap: str, namespace: str, segments: Sequence[Segment], expect: str, told: Told | None) -> Verdict:
    total, done = 0, 0
    for segment in segments:
        start, end = segment.extent(bootstrap, namespace)
        total += sum(end[place] - start[place] for place in start)
    verdicts: list[Verdict] = []
    inherited: Rows | None = None
    for segment in segments:
        audit = Audit(segment, inherited)
        for chunk in raw_chunks(bootstrap, namespace, segment, FAMILIES):
            audit.feed(chunk)
            done += len(chunk.offsets)
            if told is not None:
                told(done, total)
        verdicts.append(audit.verdict(expect if segment is segments[-1] else ""))
        inherited = heads_of(audit)
    return together(verdicts)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict on a history: that of the run itself, with what was found in its ancestors."""
    last = verdicts[-1]
    findings = tuple(finding for verdict in verdicts for finding in verdict.findings)
    faulty = [verdict.through for verdict in verdicts if verdict.findings]
    return replace(
        last, through=min([last.through, *faulty]), findings=findings,
        records=sum(v.records for v in verdicts), retries=sum(v.retries for v in verdicts),
    )  # fmt: skip

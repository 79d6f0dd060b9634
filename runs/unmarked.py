"""Records under a run's key in topics that no marker speaks for: clock, figures and snapshots.

What they say is proved elsewhere or not at all (a snapshot is only a shorter way to the same state). Here each of them
must be readable and stand where it belongs, since readers pass over what they cannot read without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from runs.rawread import raw_range
from schemas.catalogue import AGENT_SNAPSHOTS, BALANCES, BOOK_SNAPSHOTS, CLOCK, INDICATORS, key
from schemas.log import snapshots
from schemas.log.findings import NOBODY, Fault, Finding
from schemas.log.history import Segment
from schemas.log.reader import LogReader, Place, message_range
from schemas.log.strangers import strangers

_FACTS: Final = (CLOCK, BALANCES, INDICATORS)


def unmarked(bootstrap: str, namespace: str, segments: Sequence[Segment]) -> list[Finding]:
    """What is wrong with a run's records there; of its ancestors only the clock's belong to it."""
    own = segments[-1]
    behind = own.started["last_epoch"] + 1  # the run's own records are as their markers say, or not, without these

    def found(fault: Fault, place: Place, offset: int, said: str) -> Finding:
        return Finding(fault, *place, offset, -1, NOBODY, behind, said)

    findings = []
    start, end = _extent(bootstrap, namespace, [(family, 0) for family in _FACTS])
    for chunk in raw_range(bootstrap, namespace, start, end):
        for segment in segments if chunk.family == CLOCK else (own,):
            findings += [found(fault, chunk.place, at, said) for fault, at, said in strangers(chunk, segment.run)]
    findings += [
        found(Fault.UNDECODABLE, place, offset, said)
        for place, offset, said in _snapshots(bootstrap, namespace, own.run, own.started["partitions"])
    ]
    return findings


def _extent(bootstrap: str, namespace: str, places: Sequence[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
    with LogReader(bootstrap, namespace, {}) as reader:
        return reader.begin_offsets(places), reader.end_offsets(places)


def _snapshots(bootstrap: str, namespace: str, run: int, partitions: int) -> Iterator[tuple[Place, int, str]]:
    """(place, offset, why) of records under the run's key that are no part of a snapshot.

    A shard's snapshots carry the run as a text before their own key, matching's hold all runs and belong to none.
    """
    places: list[Place] = [(AGENT_SNAPSHOTS, 0), *((BOOK_SNAPSHOTS, p) for p in range(partitions))]
    start, end = _extent(bootstrap, namespace, places)
    prefix = b"%d." % run
    for place, messages in message_range(bootstrap, namespace, start, end):
        for message in messages:
            held = message.key() or b""
            if place[0] == AGENT_SNAPSHOTS and held.startswith(prefix):
                why = snapshots.fault_of(message.value() or b"", held.removeprefix(prefix))
            else:
                why = "no snapshot has such a key" if held.startswith(key(run)) else ""
            if why:
                yield place, message.offset() or 0, why

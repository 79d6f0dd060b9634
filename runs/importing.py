"""A run out of a file into a log: checked as a whole first, then written, read back, and only then made known.

Nothing of a file that is wrong reaches the log. RunStarted comes last, when everything else is there and was compared:
an import that is interrupted leaves records that nobody reads, and can be repeated. Offsets in the clock's records
become those of the new log; all other records stay as they are, but for the numbers of their schemas where the new log
has others. Matching passes over an imported run, since its RunClosed stands in front of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.registry import OWN_MODELS, Models, model_name
from economy.errors import InputError, ProtocolError, UnknownRunError
from economy.records import events as e
from runs.blocks import Content, Logged, of_run
from runs.checked import CheckedRun
from runs.container import Container
from runs.portable import ended_run, offsets_of
from runs.progress import Told
from runs.protocol import by_family, places
from runs.rawread import raw_records
from schemas.catalogue import CLOCK, ORDERS, TRADES, locked_ids
from schemas.codec import encode_record
from schemas.log.batchwriter import BatchWriter
from schemas.log.clocklog import DELETED, read_clock
from schemas.log.history import by_place, read_history
from schemas.log.reader import Place, end_offsets
from schemas.log.writer import LogWriter

Ranges = Mapping[Place, tuple[int, int]]


@dataclass(frozen=True)
class Imported:
    """A run that is on the log now; `known` when it was there before, equal in every record."""

    run: int
    records: int
    digest: str
    known: bool


def import_file(
    bootstrap: str, namespace: str, partitions: int, flow_partitions: int, file: Container,
    models: Models = OWN_MODELS, on_progress: Told | None = None, compress: bool = True,
) -> Imported:  # fmt: skip
    """Bring an exported run into a namespace that has the given partitions; `compress` packs what is written by lz4.

    Raises InputError for a file that is wrong in any way, for a run of a model that is not among `models` (a tape has
    none), for an id that another run has here, for a run that has other partitions than the namespace, and for a fork
    whose parent is not here.
    """
    run = CheckedRun(file, on_progress)
    if name := model_name(run.started):
        models.check(name)
    known = _is_there(bootstrap, namespace, run)
    if not known:
        _Import(bootstrap, namespace, partitions, flow_partitions, run).write(compress)
    return Imported(run.manifest.run, run.count, run.manifest.digest, known)


def _is_there(bootstrap: str, namespace: str, run: CheckedRun) -> bool:
    """True when the run is on the log, record for record. Raises InputError for another one with its id."""
    number = run.manifest.run
    clock = read_clock(bootstrap, namespace, number)
    if clock.started is None:
        return False
    if clock.aborted == DELETED:
        raise InputError("run", number, "it was deleted here, and ids are not used again: use another namespace")
    if not clock.ended:
        raise InputError("run", number, "a run with this id goes on here: use another namespace")
    _, ranges = ended_run(bootstrap, namespace, number)
    digest = clock.finished["digest"] if clock.finished else ""
    if (digest, _content(bootstrap, namespace, number, ranges)) != (run.manifest.digest, run.content):
        raise InputError("run", number, "another run has this id here: use another namespace")
    return True


def _content(bootstrap: str, namespace: str, run: int, ranges: Ranges) -> str:
    """What CheckedRun.content would be of the records on the log."""
    content = Content()
    start, end = ({place: at[k] for place, at in ranges.items() if place[0] != CLOCK} for k in (0, 1))
    for place, records in raw_records(bootstrap, namespace, start, end):
        content.add(of_run(place, records, run))
    return content.hexdigest()


class _Import:
    def __init__(self, bootstrap: str, namespace: str, partitions: int, flow_partitions: int, run: CheckedRun) -> None:
        self.bootstrap, self.namespace, self.run = bootstrap, namespace, run
        m = run.manifest
        if (m.partitions, m.flow_partitions) != (partitions, flow_partitions):
            # Readers of a run take its partitions for all that a topic has.
            raise InputError(
                "partitions", partitions if m.partitions != partitions else flow_partitions,
                f"the run has {m.partitions} for orders and {m.flow_partitions} for flows: import it into a namespace "
                "of its own, with --namespace and these settings",
            )  # fmt: skip
        self._places = places(partitions, flow_partitions)
        self._parent = self._parent_offsets()

    def write(self, compress: bool) -> None:
        """Write all records, compare them with the file's, and make the run known."""
        number, writer = self.run.manifest.run, LogWriter(self.bootstrap, self.namespace)
        for partition in range(self.run.manifest.partitions):
            writer.send_rows(e.RunClosed.name, np.array([[number]], np.int64), partition, ORDERS)
        writer.flush()
        start = self._ends()
        with BatchWriter(self.bootstrap, self.namespace, compress) as bulk:
            for batch in self.run.batches():
                if batch.place[0] != CLOCK:
                    bulk.send_records(*batch.place, batch.records)
                    bulk.settle()  # what was posted before, and taken in by the broker meanwhile
                    bulk.post()
            bulk.settle()
        end = self._ends()
        ranges = {place: (start[place], end[place]) for place in self._places}
        if _content(self.bootstrap, self.namespace, number, ranges) != self.run.content:
            raise ProtocolError(f"run {number} does not stand on the log as it was written", "import it again")
        for record in self._clock(ranges):
            writer.send(CLOCK, 0, record.value, record.key, timestamp=record.timestamp)
        writer.flush()

    def _ends(self) -> dict[Place, int]:
        return end_offsets(self.bootstrap, self.namespace, self._places)

    def _clock(self, ranges: Ranges) -> Iterator[Logged]:
        """The clock's records with the offsets of this log."""
        asked = {(TRADES, p): list(ranks.values()) for p, ranks in self.run.ranks.items()}
        found = offsets_of(self.bootstrap, self.namespace, self.run.manifest.run, ranges, asked)
        moved = {p: dict(zip(ranks, found[TRADES, p], strict=True)) for p, ranks in self.run.ranks.items()}
        for record, name, fields in self.run.clock:
            change: dict[str, Any] = {}
            if name == "RunStarted":
                change["start_offsets"] = by_family({place: start for place, (start, _) in ranges.items()})
                change["parent_offsets"] = self._parent
                change["schemas"] = _own_schemas(fields["schemas"])
            elif name == "RunFinished":
                change["end_offsets"] = by_family({place: end for place, (_, end) in ranges.items()})
            elif name == "EpochGranted":
                change["offsets"] = [moved[p][offset] for p, offset in enumerate(fields["offsets"])]
            yield record._replace(value=encode_record(name, fields | change)) if change else record

    def _parent_offsets(self) -> dict[str, list[int]]:
        """Where a fork left its parent, on this log."""
        m = self.run.manifest
        if not m.parent:
            return {}
        try:
            parent = read_history(self.bootstrap, self.namespace, m.parent)[-1]
        except UnknownRunError as error:
            raise InputError("run", m.run, f"it is a fork of run {m.parent}: import that one first") from error
        start, end = parent.extent(self.bootstrap, self.namespace)
        ranks = {place: [rank] for place, rank in by_place(m.parent_ranks).items()}
        ranges = {place: (start[place], end[place]) for place in ranks}
        found = offsets_of(self.bootstrap, self.namespace, m.parent, ranges, ranks)
        return by_family({place: offsets[0] for place, offsets in found.items()})


def _own_schemas(schemas: Mapping[str, str]) -> dict[str, str]:
    """Number -> fingerprint with the numbers that the schemas have here; those not known here keep theirs."""
    own = {entry["fingerprint"]: str(entry["id"]) for entries in locked_ids().values() for entry in entries}
    return {own.get(print_, number): print_ for number, print_ in schemas.items()}

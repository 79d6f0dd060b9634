"""A run as one file: out of one log, into another, the same run there; and files that are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from economy.errors import InputError
from economy.records import events as e
from economy.records.digest import digest_of
from infra.broker import Broker
from runs import checked, importing
from runs.blocks import Logged
from runs.container import Container, write_container
from runs.forking import prepare_fork
from runs.importing import import_file
from runs.kafka import StreamRun
from runs.log import RunInfo, find_run, list_runs
from runs.portable import export_file, read_own
from runs.protocol import RunSpec
from runs.verify import verify_run
from schemas.catalogue import CLOCK, ORDERS, TRADES
from schemas.log import topics
from schemas.log.clocklog import read_clock
from schemas.log.history import read_epochs, read_history
from schemas.log.reader import end_offsets, read_all
from schemas.log.writer import LogWriter
from tests.integration import toy
from tests.integration.lab import TOY, TRUSTED, Lab
from tests.processes import put_away
from tests.toy_model import make

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]
SCENARIO = json.dumps({"agents": 30, "epochs": 60})


@dataclass(frozen=True)
class Source:
    """A finished run of two partitions of each kind, among the records of another, and its file; and a fork of it."""

    bootstrap: str
    namespace: str
    info: RunInfo
    file: Path
    forked: RunInfo
    fork: Path


@pytest.fixture(scope="module")
def source(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("source")
    lab = Lab(broker, "portable-source", 2, 2, folder)
    try:
        first, second = lab.start(2, make(SCENARIO, 5)), lab.start(1, make(SCENARIO, 6))
        result = first.wait()
        second.wait()
        where = broker.bootstrap, lab.namespace
        spec = prepare_fork(*where, result.run, 340, [], folder, every=10, models=TRUSTED)
        fork = StreamRun(*where, spec, folder, lab.host, snapshot_every=10, models=TRUSTED).wait()
    finally:
        lab.close()
    made: list[Any] = []
    for each in (result, fork):
        file = folder / f"{each.run}.avro"
        manifest = export_file(broker.bootstrap, lab.namespace, each.run, file)
        assert manifest.digest == result.digest  # also that of a fork without a change
        made += [find_run(broker.bootstrap, lab.namespace, each.run), file]
    return Source(broker.bootstrap, lab.namespace, *made)


def recomputed(bootstrap: str, namespace: str, run: int) -> str:
    """The digest of what stands on the log."""
    segments = read_history(bootstrap, namespace, run)
    return digest_of(
        (number, {name: rows for part in families.values() for name, rows in part.items()})
        for number, families in read_epochs(bootstrap, namespace, segments)
        if number >= 0  # the opening is in no chain
    )


def test_an_imported_run_is_the_same_run(source: Source, namespace: str, tmp_path: Path) -> None:
    bootstrap, run = source.bootstrap, source.info.run
    topics.create(bootstrap, namespace, 2, 2)
    # Something stands there already, and matching is at work.
    writer = LogWriter(bootstrap, namespace)
    toy.open_run(writer, 9, 2, 0)
    writer.flush()
    worker = toy.start_worker(bootstrap, namespace, 2, tmp_path)
    try:
        done = import_file(bootstrap, namespace, 2, 2, Container(source.file), TRUSTED)
        assert (done.run, done.digest, done.known) == (run, source.info.digest, False)
        toy.send_epoch(writer, 9, 0, 2, 0, 50)
        toy.matched(bootstrap, namespace, 9, 2, 1)  # matching has read past the imported orders
    finally:
        put_away(worker)
    found = find_run(bootstrap, namespace, run)
    same = ("scenario", "seed", "state", "granted", "last_epoch", "digest")
    assert [getattr(found, name) for name in same] == [getattr(source.info, name) for name in same]
    assert found.started["start_offsets"] != source.info.started["start_offsets"]
    assert recomputed(bootstrap, namespace, run) == source.info.digest
    assert verify_run(bootstrap, namespace, run).findings == ()
    # Matching has not matched it again.
    trades = Container(source.file).manifest.records[TRADES]
    ends = end_offsets(bootstrap, namespace, [(TRADES, p) for p in range(2)])
    for p, count in enumerate(trades):
        assert (
            sum(len(own.messages) for own in read_own(bootstrap, namespace, run, (TRADES, p), 0, ends[TRADES, p]))
            == count
        )
    _check_grants(source, namespace)

    assert import_file(bootstrap, namespace, 2, 2, Container(source.file), TRUSTED).known
    again = tmp_path / "again.avro"
    export_file(bootstrap, namespace, run, again)
    assert _bodies(again) == _bodies(source.file)


def _bodies(file: Path) -> list[tuple[Any, ...]]:
    """All but offsets, and what the clock says of them."""
    return [
        (r.topic, r.partition, r.timestamp, r.key, r.value if r.topic != CLOCK else None)
        for r in Container(file).records()
    ]


def _check_grants(source: Source, namespace: str) -> None:
    """The offsets that grants name point at the same EpochMatched on both logs."""
    pointed = []
    for where in (source.namespace, namespace):
        clock = read_clock(source.bootstrap, where, source.info.run)
        assert clock.offsets is not None
        matched = {}
        for chunk in read_all(source.bootstrap, where, [(TRADES, p) for p in range(2)]):
            rows = chunk.rows.get(e.EpochMatched.name, np.empty((0, e.EpochMatched.width), np.int64))
            for row, offset in zip(rows.tolist(), chunk.offsets_of(e.EpochMatched.name).tolist(), strict=True):
                matched[chunk.partition, offset] = row
        pointed.append([matched[p, offset] for p, offset in enumerate(clock.offsets)])
    assert pointed[0] == pointed[1]


def test_a_fork_follows_its_parent(source: Source, namespace: str) -> None:
    topics.create(source.bootstrap, namespace, 2, 2)
    where = (source.bootstrap, namespace, 2, 2)
    with pytest.raises(InputError, match=f"fork of run {source.info.run}: import that one first"):
        import_file(*where, Container(source.fork), TRUSTED)
    import_file(*where, Container(source.file), TRUSTED)
    assert not import_file(*where, Container(source.fork), TRUSTED).known
    found = find_run(source.bootstrap, namespace, source.forked.run)
    assert (found.started["parent"], found.digest) == (source.info.run, source.info.digest)
    assert recomputed(source.bootstrap, namespace, source.forked.run) == source.info.digest
    verdict = verify_run(source.bootstrap, namespace, source.forked.run)
    assert (verdict.findings, verdict.digest) == ((), source.info.digest)
    assert import_file(*where, Container(source.fork), TRUSTED).known


def test_schemas_are_found_by_fingerprint(
    source: Source, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file from a log whose registry numbered the schemas otherwise."""

    def renumbered(number: int) -> int:
        return number * 3 + 100_000

    file = tmp_path / "other.avro"
    own = Container(source.file)
    records = (
        r._replace(value=b"\0" + renumbered(int.from_bytes(r.value[1:5], "big")).to_bytes(4, "big") + r.value[5:])
        for r in own.records()
    )
    schemas = {str(renumbered(int(number))): entry for number, entry in own.manifest.schemas.items()}
    write_container(file, records, lambda size, sound: replace(own.manifest, size=size, sha256=sound, schemas=schemas))
    topics.create(source.bootstrap, namespace, 2, 2)
    done = import_file(source.bootstrap, namespace, 2, 2, Container(file), TRUSTED)
    assert recomputed(source.bootstrap, namespace, done.run) == source.info.digest

    monkeypatch.setattr(checked, "locked_ids", lambda: {})
    with pytest.raises(InputError, match="not known here"):
        import_file(source.bootstrap, namespace, 2, 2, Container(file), TRUSTED)


def _rewritten(
    source: Source, path: Path, change: Callable[[Iterator[Logged]], Iterator[Logged]], **told: Any
) -> Container:
    """A file that is sound as a file, with other records."""
    own = Container(source.file)
    records = list(change(own.records()))
    counts: dict[str, list[int]] = {family: [0] * len(found) for family, found in own.manifest.records.items()}
    for record in records:
        counts.setdefault(record.topic, [0])
        if record.partition < len(counts[record.topic]):
            counts[record.topic][record.partition] += 1
    described = replace(own.manifest, **{"records": counts, **told})
    write_container(path, records, lambda size, sound: replace(described, size=size, sha256=sound))
    return Container(path)


def _without(name: str) -> Callable[[Iterator[Logged]], Iterator[Logged]]:
    """Leave out the first record of a topic behind its hundredth."""

    def change(records: Iterator[Logged]) -> Iterator[Logged]:
        seen = 0
        for record in records:
            seen += record.topic == name
            if record.topic != name or seen != 100:
                yield record

    return change


def _moved(**fields: Any) -> Callable[[Iterator[Logged]], Iterator[Logged]]:
    def change(records: Iterator[Logged]) -> Iterator[Logged]:
        for number, record in enumerate(records):
            yield record._replace(**fields) if number == 200 else record

    return change


def test_a_sound_file_with_wrong_records_leaves_nothing_on_the_log(
    source: Source, namespace: str, tmp_path: Path
) -> None:
    topics.create(source.bootstrap, namespace, 2, 2)
    where = (source.bootstrap, namespace, 2, 2)
    path = tmp_path / "wrong.avro"
    swapped = {"digest": "0" * 32}
    for change, told, words in (
        (_without(TRADES), {}, "changed or are not complete"),
        (_without(ORDERS), {}, "changed or are not complete"),
        (_moved(topic="../../etc"), {}, "topics and partitions"),
        (_moved(partition=7), {}, "order of topics"),
        (_moved(offset=0), {}, "not in their order"),
        (_moved(value=b"\0\0\0\xff\xff"), {}, "schema that the manifest does not give"),
        (_moved(value=b""), {}, "schema that the manifest does not give"),
        (iter, {"run": 1}, "another run"),
        (iter, swapped, "do not agree"),
        (iter, {"shards": 7}, "do not agree"),
        (lambda records: (r for r in records if r.topic != CLOCK), {}, "clock's first"),
    ):
        with pytest.raises(InputError, match=words):
            import_file(*where, _rewritten(source, path, change, **told), TRUSTED)
    places = [(ORDERS, p) for p in range(2)] + [(TRADES, p) for p in range(2)] + [(CLOCK, 0)]
    assert set(end_offsets(source.bootstrap, namespace, places).values()) == {0}


def test_what_is_there_already_is_not_overwritten(source: Source, namespace: str, tmp_path: Path) -> None:
    bootstrap, run = source.bootstrap, source.info.run
    # Into the log that it came from: it is known.
    assert import_file(bootstrap, source.namespace, 2, 2, Container(source.file), TRUSTED).known
    topics.create(bootstrap, namespace, 1, 1)
    with pytest.raises(InputError, match="has 2 for orders and 2 for flows"):
        import_file(bootstrap, namespace, 1, 1, Container(source.file), TRUSTED)

    # An interrupted import leaves no run, and can be repeated.
    other = f"{namespace}b"
    topics.create(bootstrap, other, 2, 2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importing._Import, "_clock", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            import_file(bootstrap, other, 2, 2, Container(source.file), TRUSTED)
    assert list_runs(bootstrap, other) == []
    assert not import_file(bootstrap, other, 2, 2, Container(source.file), TRUSTED).known
    assert recomputed(bootstrap, other, run) == source.info.digest

    # A run that names code to load.
    with pytest.raises(InputError, match=r"model = 'tests\.toy_model:make'.*--trust"):
        import_file(bootstrap, f"{namespace}b", 2, 2, Container(source.file))

    # Another run with its id.
    third = f"{namespace}c"
    topics.create(bootstrap, third, 2, 2)
    longer = json.dumps({"agents": 30, "epochs": 60, "seed": 1})
    spec = RunSpec(run, TOY, longer, 8, 1, 2, 2)
    from runs.protocol import open_run

    writer = LogWriter(bootstrap, third)
    open_run(bootstrap, third, writer, spec, make(SCENARIO, 8))
    with pytest.raises(InputError, match="goes on here"):
        import_file(bootstrap, third, 2, 2, Container(source.file), TRUSTED)
    record = {"run": run, "incarnation": 1, "epoch": -1, "reason": "test"}
    writer.send_record("RunAborted", record, 0)
    writer.flush()
    with pytest.raises(InputError, match="another run has this id"):
        import_file(bootstrap, third, 2, 2, Container(source.file), TRUSTED)

"""The file of a run: whatever is wrong with it is one clear error, and nothing unbounded is ever read."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from economy.errors import InputError, SetupError
from runs import container
from runs.blocks import Logged
from runs.container import Container, Manifest, write_container

RECORDS = [
    Logged(
        "market.orders.v1", i % 2, i, 1_700_000_000_000 + i, None if i % 7 == 0 else bytes([i % 256] * 16), b"\0" * i
    )
    for i in range(200)
]


def manifest(size: int, sha256: str, **changes: Any) -> Manifest:
    made = Manifest(
        7, "toy", "finished", "ab", "cd", 2, 2, 1, 0, -1, {"market.orders.v1": [100, 100]}, size, sha256,
        {"1": {"name": "X", "fingerprint": "f", "schema": {}}},
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.avro"
    write_container(path, RECORDS, manifest)
    return path


def read(path: Path) -> tuple[Manifest, list[Logged]]:
    opened = Container(path)
    return opened.manifest, list(opened.records())


def test_what_was_written_is_read_and_any_avro_library_reads_it(file: Path) -> None:
    size = sum(len(record.key or b"") + len(record.value) for record in RECORDS)
    found, records = read(file)
    assert (found, records) == (manifest(size, found.sha256), RECORDS)
    with open(file, "rb") as opened:
        reader = fastavro.reader(opened)
        assert [Logged(**record) for record in reader] == RECORDS
        assert json.loads(reader.metadata["escape.manifest"])["run"] == 7
    assert [path.name for path in file.parent.iterdir()] == ["run.avro"]


def test_no_changed_byte_goes_unnoticed(file: Path) -> None:
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    for at in {*range(8), *rng.integers(0, len(whole), 400).tolist(), *range(len(whole) - 40, len(whole))}:
        for flip in (1 << int(rng.integers(8)), 255):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(InputError, match="valid"):
                read(file)


def test_a_file_that_is_cut_off_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"no Avro|cut off|damaged"):
            read(file)


def test_another_file_is_refused(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"run,instrument\n")
    with pytest.raises(InputError, match="no Avro container"):
        Container(path)
    with open(path, "wb") as opened:
        fastavro.writer(opened, {"type": "record", "name": "X", "fields": []}, [])
    with pytest.raises(InputError, match="no exported run"):
        Container(path)
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            Container(missing)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"records": {"market.orders.v1": [100, 101]}}, "200 of the 201"),
        ({"records": {"market.orders.v1": [100, 99]}}, "more than its manifest"),
        ({"size": 5000}, "more than its manifest"),
        ({"size": 1 << 40}, "more than 200 times"),
        ({"sha256": "0" * 64}, "checksum"),
        ({"format": 2}, "format 2"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.avro"
    write_container(path, RECORDS, lambda size, sha256: replace(manifest(size, sha256), **wrong))
    with pytest.raises(InputError, match=words):
        read(path)


def test_what_fails_while_it_is_written_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Logged]:
        yield RECORDS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_container(tmp_path / "run.avro", broken(), manifest)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SetupError, match="cannot be written"):
        write_container(Path("/proc/nowhere/run.avro"), RECORDS, manifest)


def _forged(path: Path, block: bytes, count: int, size: int | None = None) -> Path:
    """A sound header, and then one block of bytes as given."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, "long", count)
    fastavro.schemaless_writer(body, "long", len(block) if size is None else size)
    whole = body.getvalue() + block + bytes(16)
    text = json.dumps(asdict(manifest(20_000, hashlib.sha256(whole).hexdigest())))
    empty = io.BytesIO()
    fastavro.writer(empty, container._PARSED, [], "deflate")
    empty.seek(0)
    schema = container._header(empty)[0]["avro.schema"]
    metadata = {"escape.manifest": text, "escape.sha256": hashlib.sha256(text.encode() + schema).hexdigest()}
    out = io.BytesIO()
    fastavro.writer(out, container._PARSED, [], "deflate", metadata=metadata, sync_marker=bytes(16))
    path.write_bytes(out.getvalue() + whole)
    return path


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def test_a_decompression_bomb_is_not_blown_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = _forged(tmp_path / "bomb.avro", _deflated(bytes(40 << 20)), 1)
    with pytest.raises(InputError, match="decompression bomb"):
        read(bomb)
    monkeypatch.setattr(container, "MAX_BLOCK", 1000)
    with pytest.raises(InputError, match="decompression bomb"):
        read(_forged(tmp_path / "bomb.avro", _deflated(np.random.default_rng(1).bytes(500) * 3), 1))


def test_blocks_that_lie_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.avro"
    for block, count, size in (
        (b"", 1, 0), (b"x", 1, -5), (b"x", 1, 1 << 50), (b"x", 0, None), (b"x", -1, None), (b"no deflate", 1, None),
        (_deflated(b"\xff" * 30), 1, None), (_deflated(b""), 1, None), (_deflated(b"\0" * 5000), 1, None),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"block|record"):
            read(_forged(path, block, count, size))


def test_many_records_of_nothing_are_bounded_by_the_manifest(tmp_path: Path) -> None:
    """A record of six zero bytes: a small block could hold very many."""
    with pytest.raises(InputError, match="more than its manifest"):
        read(_forged(tmp_path / "run.avro", _deflated(bytes(600_000)), 100_000))

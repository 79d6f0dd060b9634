"""The hot codec against fastavro, and against broken bytes."""

from __future__ import annotations

import copy
import io
import struct
from collections.abc import Iterator
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import codec
from schemas import rows as hot
from schemas.catalogue import EVENTS, versions
from schemas.codec import decode_record, encode_record
from schemas.rows import RESOLVED, ROW_TYPES, Defect, decode_values, encode

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def batches(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    name = draw(st.sampled_from(ROW_TYPES))
    fields = EVENTS[name].fields
    rows = draw(hnp.arrays(np.int64, (draw(st.integers(1, 5)), len(fields)), elements=INT64))
    for position, field in enumerate(fields):
        if field.symbols:
            rows[:, position] = np.abs(rows[:, position] % len(field.symbols))
        elif field.type == "int":
            rows[:, position] = rows[:, position] % 2**31
    return name, rows


def split(name: str, rows: np.ndarray) -> list[bytes]:
    buffer, ends = encode(name, rows)
    data, starts = buffer.tobytes(), [0, *ends.tolist()[:-1]]
    return [data[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]


@given(batches())
@settings(max_examples=200)
def test_rows_are_what_fastavro_writes_and_reads(batch: tuple[str, np.ndarray]) -> None:
    name, rows = batch
    fields = EVENTS[name].fields
    for value, row in zip(split(name, rows), rows.tolist(), strict=True):
        record = {f.name: f.symbols[v] if f.symbols else v for f, v in zip(fields, row, strict=True)}
        assert value == encode_record(name, record)
        assert decode_record(value) == (name, record)
    decoded = decode_values(split(name, rows))
    assert list(decoded.rows) == [name]
    assert (decoded.rows[name] == rows).all()
    assert not decoded.defects


@given(batches(), st.data())
@settings(max_examples=200)
def test_broken_records_are_named_and_the_rest_is_read(batch: tuple[str, np.ndarray], data: st.DataObject) -> None:
    name, rows = batch
    values = split(name, rows)
    at = data.draw(st.integers(0, len(values) - 1))
    cut = data.draw(st.integers(0, len(values[at]) - 1))
    broken = [*values[:at], values[at][:cut], *values[at + 1 :]]
    decoded = decode_values(broken)
    assert [i for i, _ in decoded.defects] == [at]
    assert decoded.defects[0][1] in (Defect.TOO_SHORT, Defect.TRUNCATED)
    left = np.delete(rows, at, axis=0)
    assert (decoded.rows.get(name, left[:0]) == left).all()


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_safe(values: list[bytes]) -> None:
    decoded = decode_values(values)
    known = sum(len(rows) for rows in decoded.rows.values()) + len(decoded.cold) + len(decoded.defects)
    assert known == len(values)


# ---- versions of other writers
def _order_schema() -> dict[str, Any]:
    return copy.deepcopy(dict(EVENTS["OrderSubmitted"].schema))


def _older() -> dict[str, Any]:
    """Written when there was a field that has gone since."""
    schema = _order_schema()
    schema["fields"].insert(1, {"name": "venue", "type": "long", "default": 0})
    return schema


def _newer() -> dict[str, Any]:
    """Written by a later program: two more fields, in another order."""
    schema = _order_schema()
    schema["fields"] = [{"name": "peg", "type": "long", "default": 7}, *reversed(schema["fields"])]
    schema["fields"].append({"name": "hidden", "type": "int", "default": 0})
    return schema


def _texts() -> dict[str, Any]:
    """A version with a text between the numbers, whose bytes the table of columns would misread."""
    schema = _order_schema()
    schema["fields"].insert(3, {"name": "note", "type": "string", "default": ""})
    return schema


def _swapped() -> dict[str, Any]:
    """A version that lists the sides in the other order: Avro resolves enums by name."""
    schema = _order_schema()
    for field in schema["fields"]:
        if field["name"] == "side":
            field["type"]["symbols"] = field["type"]["symbols"][::-1]
    return schema


def _lacking() -> dict[str, Any]:
    """A version without a field that has no default: nothing can be read from it."""
    schema = _order_schema()
    schema["fields"] = [f for f in schema["fields"] if f["name"] != "expires"]
    return schema


def _fewer() -> dict[str, Any]:
    """A version from before the last symbol of an enum was added."""
    schema = _order_schema()
    for field in schema["fields"]:
        if field["name"] == "use":
            del field["type"]["symbols"][-1]
    return schema


WRITERS = {901: _older(), 902: _newer(), 903: _texts(), 904: _swapped(), 906: _fewer()}


@pytest.fixture
def with_versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = dict(versions())
    known |= {number: ("OrderSubmitted", schema) for number, schema in {**WRITERS, 905: _lacking()}.items()}
    for module in (hot, codec):
        monkeypatch.setattr(module, "versions", lambda: known)
    hot.tables.cache_clear()
    yield
    hot.tables.cache_clear()


def test_every_version_of_a_writer_is_read_as_avro_resolves_it(with_versions: None) -> None:
    rng = np.random.default_rng(3)
    reader = fastavro.parse_schema(_order_schema())
    values, expected = [], []
    for i in range(400):
        number = [EVENTS["OrderSubmitted"].schema_id, *WRITERS][i % 6]
        schema = WRITERS.get(number, _order_schema())
        record = {
            f["name"]: f["type"]["symbols"][rng.integers(len(f["type"]["symbols"]))]
            if isinstance(f["type"], dict)
            else ("text" * 3 if f["type"] == "string" else int(rng.integers(-(2**31), 2**31)))
            for f in schema["fields"]
        }
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
        body.seek(0)
        read: Any = fastavro.schemaless_reader(body, fastavro.parse_schema(schema), reader)
        expected.append(
            [f.symbols.index(read[f.name]) if f.symbols else read[f.name] for f in EVENTS["OrderSubmitted"].fields]
        )
        values.append(struct.pack(">bI", 0, number) + body.getvalue())
    cut = values[3][:-1]  # of the version with the text
    lacking = struct.pack(">bI", 0, 905) + values[0][5:]
    decoded = decode_values([*values, cut, values[0], lacking])
    assert decoded.rows["OrderSubmitted"].tolist() == [*expected, expected[0]]
    assert decoded.index["OrderSubmitted"].tolist() == [*range(400), 401]
    assert decoded.defects == [(400, Defect.UNDECODABLE), (402, Defect.UNDECODABLE)]
    # Those that are no more than a choice of columns stay on the fast path.
    assert [hot.tables().type_of[number] == RESOLVED for number in WRITERS] == [False, False, True, True, False]

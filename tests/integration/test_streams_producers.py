"""Whoever writes the orders, and however: every client, compression, transaction and known version is matched alike."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiokafka
import fastavro
import numpy as np
import pytest
from confluent_kafka import Producer

import schemas
from infra.broker import Broker
from schemas.catalogue import EVENTS, ORDERS, dead_letter, topic
from schemas.log import topics
from schemas.log.reader import LogReader
from schemas.log.writer import LogWriter
from schemas.rows import encode
from tests.integration.flow import Crew, Flow, collect
from tests.processes import PATIENCE, stopped

pytestmark = pytest.mark.integration
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
UNKNOWN = b"\0" + struct.pack(">I", 999_999) + b"\2\4"


def values_of(flow: Flow) -> list[bytes]:
    """The flow's records in the order of arrival."""
    values: list[bytes] = []
    for name, rows in (("OrderSubmitted", flow.orders), ("OrderCancelRequested", flow.cancels)):
        buffer, ends = encode(name, rows)
        data, starts = buffer.tobytes(), [0, *ends.tolist()[:-1]]
        values += [data[a:b] for a, b in zip(starts, ends.tolist(), strict=True)]
    return [values[i] for i in np.argsort(flow.arrival).tolist()]


def librdkafka(bootstrap: str, name: str, codec: str, values: Sequence[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.codec": codec, "linger.ms": 5})
    for value in values:
        producer.produce(name, value, b"key", 0, headers={"trace": b"1"})
    assert producer.flush(20) == 0


def transaction(bootstrap: str, name: str, values: Sequence[bytes], commit: bool) -> None:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": f"{name}-{commit}", "compression.codec": "lz4"}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(name, value, None, 0)
    assert producer.flush(20) == 0
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


async def kafka_python(bootstrap: str, name: str, codec: str, values: Sequence[bytes]) -> None:
    kind = None if codec == "none" else codec
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=kind, linger_ms=5) as producer:
        for future in [await producer.send(name, value, partition=0) for value in values]:
            await future


def buried(bootstrap: str, namespace: str, count: int) -> list[tuple[bytes | None, dict[str, Any]]]:
    """The first dead letters of the orders, with their headers."""
    found: list[tuple[bytes | None, dict[str, Any]]] = []
    limit = time.monotonic() + PATIENCE
    with LogReader(bootstrap, namespace, {(dead_letter(ORDERS), 0): 0}) as reader:
        while len(found) < count:
            assert time.monotonic() < limit, found
            found += [(m.value(), dict(m.headers() or [])) for m in reader.poll_messages(1)]
    return found


def test_all_clients_and_compressions_in_one_topic(broker: Broker, namespace: str, tmp_path: Path) -> None:
    flow = Flow(31, 5000, 1)
    bootstrap, orders = broker.bootstrap, topic(namespace, ORDERS)
    topics.create(bootstrap, namespace, 1, 1)
    writer = LogWriter(bootstrap, namespace)
    parts = [values_of(flow)[i : i + 250] for i in range(0, 5000, 250)]
    with Crew(bootstrap, namespace, 1, tmp_path) as crew:
        crew.start("a")
        flow.open(writer)
        for part in parts:
            turn = parts.index(part)
            codec = CODECS[turn // 3 % len(CODECS)]
            if turn % 3 == 0:
                librdkafka(bootstrap, orders, codec, part)
            elif turn % 3 == 1:
                asyncio.run(kafka_python(bootstrap, orders, codec, part))
                librdkafka(bootstrap, orders, codec, [UNKNOWN])
            else:
                transaction(bootstrap, orders, parts[0], commit=False)  # what was aborted was never ordered
                transaction(bootstrap, orders, part, commit=True)
        flow.close(writer)
        got = collect(bootstrap, namespace, flow)
        letters = buried(bootstrap, namespace, 7)
    assert got.records == flow.expected()
    assert [value for value, _ in letters] == [UNKNOWN] * 7
    assert {headers["error"] for _, headers in letters} == {b"UNKNOWN_SCHEMA"}
    places = {(headers["topic"], headers["partition"], headers["offset"]) for _, headers in letters}
    assert len(places) == 7


def _versions() -> dict[int, dict[str, Any]]:
    """Versions of OrderSubmitted of other times: with a number, and with a text, that has gone since."""
    found = {}
    for number, kind, default in ((901, "long", 0), (902, "string", "")):
        schema = copy.deepcopy(dict(EVENTS["OrderSubmitted"].schema))
        schema["fields"].insert(2, {"name": "gone", "type": kind, "default": default})
        found[number] = schema
    return found


def _written(row: list[int], number: int, schema: dict[str, Any]) -> bytes:
    """An order as a writer with another version of its schema encodes it."""
    fields = EVENTS["OrderSubmitted"].fields
    record: dict[str, Any] = {f.name: f.symbols[v] if f.symbols else v for f, v in zip(fields, row, strict=True)}
    record["gone"] = 12345 if number == 901 else "written in full"
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
    return struct.pack(">bI", 0, number) + body.getvalue()


def test_versions_of_several_writers_in_one_topic(broker: Broker, namespace: str, tmp_path: Path) -> None:
    # A worker whose catalogue knows two more versions than ours.
    ours = Path(schemas.__file__).parent
    shutil.copytree(ours, tmp_path / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    lock = json.loads((ours / "ids.lock").read_text())
    history = tmp_path / "schemas" / "avro" / "history"
    history.mkdir(exist_ok=True)
    versions = _versions()
    for number, schema in versions.items():
        lock["OrderSubmitted"].insert(0, {"id": number, "fingerprint": ""})
        (history / f"OrderSubmitted.{number}.avsc").write_text(json.dumps(schema))
    (tmp_path / "schemas" / "ids.lock").write_text(json.dumps(lock))

    flow = Flow(32, 3000, 1)
    bootstrap, orders = broker.bootstrap, topic(namespace, ORDERS)
    topics.create(bootstrap, namespace, 1, 1)
    writer, values = LogWriter(bootstrap, namespace), values_of(flow)
    for at, row in zip(flow.arrival.tolist(), flow.orders.tolist(), strict=False):
        if at % 3:
            number = 900 + at % 3
            values[at] = _written(row, number, versions[number])
    command = [sys.executable, "-m", "streams.worker", "matching", "--bootstrap", bootstrap, "--namespace", namespace]
    with open(tmp_path / "w.log", "ab") as log:
        worker = subprocess.Popen(
            [*command, "--data", str(tmp_path)], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": str(ours.parent)},
        )  # fmt: skip
    try:
        flow.open(writer)
        librdkafka(bootstrap, orders, "lz4", values)
        flow.close(writer)
        got = collect(bootstrap, namespace, flow)
    finally:
        assert stopped(worker) == 0, (tmp_path / "w.log").read_text()[-3000:]
    assert got.records == flow.expected()
    assert "dead letters" not in (tmp_path / "w.log").read_text()

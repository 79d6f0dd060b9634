"""Bytes under a run's key that are no record of it, in every topic and of every kind: verify names each of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from typer.testing import CliRunner

from economy.records.events import Events
from infra.broker import Broker
from infra.cli import app
from runs.replay import Status, replay
from runs.verify import verify_run
from schemas import rows as hot
from schemas.catalogue import (
    AGENT_SNAPSHOTS,
    BALANCES,
    BOOK_SNAPSHOTS,
    CLOCK,
    DECISIONS,
    EVENTS,
    FLOWS,
    INDICATORS,
    ORDERS,
    TRADES,
    key,
)
from schemas.codec import encode_record
from schemas.log.findings import Fault, Verdict
from schemas.log.reader import end_offsets
from schemas.log.writer import LogWriter
from tests.integration.lab import TOY, TRUSTED
from tests.integration.written import Written
from tests.toy_model import make

pytestmark = pytest.mark.integration
NAMESPACE, ALL, MID = "strange", 50, 3
MODEL = json.dumps({"agents": 8, "epochs": 6})
SAMPLE = {
    DECISIONS: "AgentDecided", FLOWS: "MoneyTransferred", ORDERS: "OrderSubmitted", TRADES: "TradeExecuted",
    BALANCES: "BalanceRecorded", INDICATORS: "WindowMeasured", CLOCK: "PaceChanged",
}  # fmt: skip
PLACES = [(family, p) for family in (DECISIONS, FLOWS, ORDERS, TRADES) for p in (0, 1)]
PLACES += [(family, 0) for family in (BALANCES, INDICATORS, CLOCK)]


def sound(name: str, run: int) -> bytes:
    """A record of a kind."""
    if name == "WindowMeasured":
        return encode_record(name, {"run": run, "window": 0, "indicator": "x", "item": 0, "value": Decimal(1)})
    row = np.zeros((1, len(EVENTS[name].fields)), np.int64)
    row[0, 0] = run
    return hot.encode(name, row)[0].tobytes()


Kind = Callable[[bytes, int, str], bytes | None]  # (a sound record, the run, the topic)
KINDS: dict[str, tuple[Fault, Kind]] = {
    "unknown id": (Fault.UNDECODABLE, lambda *_: b"\0\0\0\0\x63xx"),
    "truncated": (Fault.UNDECODABLE, lambda value, *_: value[:-1]),
    "trailing": (Fault.UNDECODABLE, lambda value, *_: value + b"\0") ,
    "wrong magic": (Fault.UNDECODABLE, lambda value, *_: b"\1" + value[1:]),
    "short": (Fault.UNDECODABLE, lambda *_: b"\0\0"),
    "empty": (Fault.UNDECODABLE, lambda *_: b""),
    "null": (Fault.UNDECODABLE, lambda *_: None),
    "of another run": (Fault.FOREIGN, lambda _, run, family: sound(SAMPLE[family], run + 10_000)),
    "of another topic": (
        Fault.FOREIGN, lambda _, run, family: sound(SAMPLE[INDICATORS if family != INDICATORS else FLOWS], run),
    ),
    "rows of another topic": (
        Fault.FOREIGN, lambda _, run, family: sound(SAMPLE[BALANCES if family != BALANCES else FLOWS], run),
    ),
}  # fmt: skip
SNAPSHOTS = {
    "empty": b"", "null": None, "short": b"\0" * 9, "junk": b"x" * 40,
    "no state": np.array([7169, 0], ">i8").tobytes() + np.array([0, 1], ">i4").tobytes() + b"no frame",
}  # fmt: skip


def put(writer: LogWriter, place: tuple[str, int], run: int, kind: str) -> None:
    value = KINDS[kind][1](sound(SAMPLE[place[0]], run), run, place[0])
    writer.send(*place, value, key(run, 4))  # type: ignore[arg-type]  # null is one of the kinds


def written(broker: Broker, run: int, strange: Callable[[LogWriter], None]) -> None:
    """A run in whose middle something strange is written."""
    writer = LogWriter(broker.bootstrap, NAMESPACE)

    def alter(epoch: int, events: Events) -> Events:
        if epoch == MID:
            strange(writer)
            writer.flush()
        return events

    Written(broker.bootstrap, NAMESPACE, make(MODEL, 3), TOY, alter, run=run)


@pytest.fixture(scope="module")
def found(broker: Broker) -> tuple[Verdict, dict[tuple[str, int, str], int]]:
    """The verdict on a run that has everything wrong, and the offset of each thing."""
    offsets: dict[tuple[str, int, str], int] = {}

    def strange(writer: LogWriter) -> None:
        for kind in KINDS:
            ends = end_offsets(broker.bootstrap, NAMESPACE, PLACES)
            for place in PLACES:
                offsets[(*place, kind)] = ends[place]
                put(writer, place, ALL, kind)
            writer.flush()

    written(broker, ALL, strange)
    return verify_run(broker.bootstrap, NAMESPACE, ALL), offsets


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_named_in_every_topic(
    found: tuple[Verdict, dict[tuple[str, int, str], int]], place: tuple[str, int], kind: str
) -> None:
    verdict, offsets = found
    told = {(f.topic, f.partition, f.offset): f.fault for f in verdict.findings}
    assert told[(*place, offsets[(*place, kind)])] == KINDS[kind][0]
    assert len(verdict.findings) == len(offsets)  # and nothing else


@pytest.mark.parametrize(("place", "kind"), list(zip(PLACES, itertools.cycle(KINDS), strict=False)), ids=str)
def test_one_alone_is_enough(broker: Broker, place: tuple[str, int], kind: str) -> None:
    run = 100 + PLACES.index(place)
    written(broker, run, lambda writer: put(writer, place, run, kind))
    (finding,) = verify_run(broker.bootstrap, NAMESPACE, run).findings
    assert (finding.topic, finding.partition, finding.fault) == (*place, KINDS[kind][0])
    proof = replay(broker.bootstrap, NAMESPACE, run, models=TRUSTED).integrity
    assert (proof.status, place[0] in proof.reason) == (Status.DIVERGED, True)


@pytest.mark.parametrize("what", SNAPSHOTS)
@pytest.mark.parametrize("place", [(AGENT_SNAPSHOTS, 0), (BOOK_SNAPSHOTS, 1)], ids=str)
def test_what_is_no_snapshot_is_named(broker: Broker, place: tuple[str, int], what: str) -> None:
    run = 200 + 2 * list(SNAPSHOTS).index(what) + (place[0] == BOOK_SNAPSHOTS)
    own = b"%d.7169.0.0" % run if place[0] == AGENT_SNAPSHOTS else key(run)
    value = SNAPSHOTS[what]
    written(broker, run, lambda writer: writer.send(*place, value, own))  # type: ignore[arg-type]
    (finding,) = verify_run(broker.bootstrap, NAMESPACE, run).findings
    assert (finding.topic, finding.partition, finding.fault) == (*place, Fault.UNDECODABLE)


def test_a_run_beside_them_is_sound(broker: Broker, found: object) -> None:
    written(broker, 300, lambda writer: None)
    assert verify_run(broker.bootstrap, NAMESPACE, 300).sound


def test_the_command_ends_with_4_and_names_the_place(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    written(broker, 301, lambda writer: put(writer, (FLOWS, 1), 301, "unknown id"))
    monkeypatch.setattr("infra.cli.proof.using_stack", lambda *_, **__: Attached(broker))
    told = CliRunner().invoke(app, ["verify", "301"])
    assert (told.exit_code, f"undecodable: {FLOWS}[1] offset" in told.stderr) == (4, True)


class Attached:
    """A stack that is this broker."""

    def __init__(self, broker: Broker) -> None:
        self.bootstrap, self.namespace = broker.bootstrap, NAMESPACE

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        pass

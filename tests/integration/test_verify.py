"""Tampering with a copy of a real log in every way: verification names the fault and its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from economy.errors import InputError
from infra.broker import Broker
from runs.local import run_local
from runs.verify import Audit, verify_run
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.codec import decode_record, encode_record
from schemas.log.clocklog import ClockLog
from schemas.log.findings import Fault, Verdict
from tests.integration.lab import Lab
from tests.integration.recorded import Recorded
from tests.toy_model import make

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]
SCENARIO, SEED, EPOCH = json.dumps({"agents": 30, "epochs": 24}), 5, 9


@pytest.fixture(scope="module")
def lab(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(broker, "verified", 2, 2, tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def recorded(broker: Broker, lab: Lab) -> Recorded:
    other = lab.start(1, make(SCENARIO, 6))  # a neighbour in the same partitions
    run = lab.start(2, make(SCENARIO, SEED))
    run.wait()
    other.wait()
    return Recorded.read(broker, lab.namespace, run.spec.run)


def judge(log: Recorded, expect: str = "", size: int | None = None) -> Verdict:
    audit = Audit(log.segment)
    for chunk in log.chunks() if size is None else log.chunks(size):
        audit.feed(chunk)
    return audit.verdict(expect)


def test_an_untouched_log_is_sound(broker: Broker, lab: Lab, recorded: Recorded) -> None:
    verdict = judge(recorded)
    assert verdict.findings == ()
    assert (verdict.through, verdict.retries) == (23, 0)
    local = run_local(make(SCENARIO, SEED))
    assert verdict.digest == local.digest
    finished = recorded.segment.clock.finished
    assert finished is not None
    assert verdict.root == finished["root"]
    assert judge(recorded, finished["root"]).sound
    assert [f.fault for f in judge(recorded, "00" * 16).findings] == [Fault.CHANGED]
    assert verify_run(broker.bootstrap, lab.namespace, recorded.segment.run) == verdict
    # The size of what is read at once must not show.
    assert judge(recorded, size=13) == verdict


PLACES = [
    (DECISIONS, "AgentDecided", "choice"),
    (FLOWS, "MoneyTransferred", "amount"),
    (ORDERS, "OrderSubmitted", "price"),
    (TRADES, "TradeExecuted", "price"),
]


def victim(log: Recorded, family: str, name: str) -> tuple[tuple[str, int], int, dict[str, int]]:
    """Place, position and fields of a record in epoch EPOCH or the first one after it."""
    for partition in range(2):
        for position, (_, value, _) in enumerate(log.records[family, partition]):
            kind, record = decode_record(value)
            if kind == name and record["run"] == log.segment.run and record["tick"] // 20 >= EPOCH:
                return (family, partition), position, record
    raise AssertionError(name)


@pytest.mark.parametrize(("family", "name", "field"), PLACES)
def test_a_changed_record(recorded: Recorded, family: str, name: str, field: str) -> None:
    log = recorded.copy()
    place, at, record = victim(log, family, name)
    offset, _, key = log.records[place][at]
    log.records[place][at] = (offset, encode_record(name, record | {field: record[field] + 1}), key)
    (finding,) = judge(log).findings
    assert (finding.fault, finding.topic, finding.partition) == (Fault.CHANGED, *place)
    assert finding.epoch == record["tick"] // 20
    assert finding.offset <= offset <= finding.until
    assert finding.writer == (0 if family == TRADES else record["agent"] % 2)
    assert judge(log).through == finding.epoch - 1


@pytest.mark.parametrize(("family", "name", "field"), PLACES)
def test_a_missing_record(recorded: Recorded, family: str, name: str, field: str) -> None:
    log = recorded.copy()
    place, at, record = victim(log, family, name)
    offset = log.records[place].pop(at)[0]
    (finding,) = judge(log).findings
    assert (finding.fault, finding.topic, finding.partition) == (Fault.MISSING, *place)
    assert finding.epoch == record["tick"] // 20
    assert finding.offset <= offset <= finding.until
    assert "1 of" in finding.detail


@pytest.mark.parametrize(("family", "name", "field"), PLACES)
def test_a_foreign_record(recorded: Recorded, family: str, name: str, field: str) -> None:
    log = recorded.copy()
    place, at, record = victim(log, family, name)
    extra = record | {field: record[field] + 5, "seq" if family == TRADES else "n": 10**6}
    log.records[place].insert(at, (10**7, encode_record(name, extra), b""))
    (finding,) = [f for f in judge(log).findings if f.fault == Fault.FOREIGN]
    assert (finding.topic, finding.partition, finding.offset) == (*place, 10**7)
    assert finding.epoch == record["tick"] // 20


def test_a_foreign_record_behind_its_marker_and_in_the_wrong_partition(recorded: Recorded) -> None:
    log = recorded.copy()
    place, _, record = victim(log, FLOWS, "MoneyTransferred")
    late = encode_record("MoneyTransferred", record | {"n": 10**6})
    log.records[place].insert(len(log.records[place]) - 3, (10**7, late, b""))
    strange = encode_record("MoneyTransferred", record | {"agent": record["agent"] + 1})
    log.records[place].insert(5, (10**7 + 1, strange, b""))
    found = judge(log).findings
    assert {(f.fault, f.offset) for f in found} == {(Fault.FOREIGN, 10**7), (Fault.FOREIGN, 10**7 + 1)}


def test_an_undecodable_record(recorded: Recorded) -> None:
    log = recorded.copy()
    place, at, _ = victim(log, ORDERS, "OrderSubmitted")
    offset, value, key = log.records[place][at]
    log.records[place][at] = (offset, value[:-1], key)
    found = judge(log).findings
    assert {f.fault for f in found} == {Fault.UNDECODABLE, Fault.MISSING}
    assert next(f.offset for f in found if f.fault == Fault.UNDECODABLE) == offset


@pytest.mark.parametrize(("family", "name"), [(FLOWS, "EpochClosed"), (TRADES, "EpochMatched")])
def test_markers_missing_changed_and_reordered(recorded: Recorded, family: str, name: str) -> None:
    where = {"run": recorded.segment.run, "epoch": EPOCH}
    place = (family, 1)
    at = recorded.find(name, place, **where)
    offset, value, key = recorded.records[place][at]
    gone, changed, moved = recorded.copy(), recorded.copy(), recorded.copy()
    gone.records[place].pop(at)
    assert (Fault.MISSING, EPOCH) in {(f.fault, f.epoch) for f in judge(gone).findings}
    record = decode_record(value)[1]
    changed.records[place][at] = (offset, encode_record(name, record | {"chain": record["chain"] ^ 1}), key)
    assert (Fault.CHANGED, offset) in {(f.fault, f.offset) for f in judge(changed).findings}
    later = recorded.find(name, place, **where | {"epoch": EPOCH + 1} | ({} if family == TRADES else
                          {"shard": record["shard"]}))  # fmt: skip
    moved.records[place].insert(later + 1, moved.records[place][at])
    moved.records[place].pop(at)
    found = {(f.fault, f.epoch) for f in judge(moved).findings}
    assert (Fault.REORDERED, EPOCH) in found


def test_records_of_one_writer_out_of_order(recorded: Recorded) -> None:
    log = recorded.copy()
    place, at, record = victim(log, TRADES, "TradeExecuted")
    follower = next(
        i for i in range(at + 1, len(log.records[place]))
        if decode_record(log.records[place][i][1])[1].get("instrument") == record["instrument"]
    )  # fmt: skip
    records = log.records[place]
    (a, first, key), (b, second, other) = records[at], records[follower]
    records[at], records[follower] = (a, second, other), (b, first, key)
    (finding,) = judge(log).findings
    assert finding.fault == Fault.REORDERED
    assert finding.epoch == record["tick"] // 20
    assert a <= finding.offset <= b
    behind = recorded.copy()
    place, at, record = victim(behind, FLOWS, "MoneyTransferred")
    fields = {"run": record["run"], "epoch": record["tick"] // 20, "shard": record["agent"] % 2}
    marker = behind.find("EpochClosed", place, **fields)
    _, value, key = behind.records[place].pop(at)
    behind.records[place].insert(marker, (10**7, value, key))
    assert [(f.fault, f.offset) for f in judge(behind).findings] == [(Fault.REORDERED, 10**7)]


def test_equal_retries_are_harmless(recorded: Recorded) -> None:
    log = recorded.copy()
    dice = np.random.default_rng(3)
    expected = 0
    for place, records in log.records.items():
        own = [i for i, (_, value, _) in enumerate(records) if _counts(value, log.segment.run)]
        for i in sorted(dice.choice(own, 20, replace=False).tolist(), reverse=True):
            to = min(len(records), i + int(dice.choice([1, 2, 400])))
            records.insert(to, (10**7, records[i][1], records[i][2]))
            expected += 1
        assert place in recorded.records
    verdict = judge(log)
    assert verdict.findings == ()
    assert verdict.retries == expected
    assert verdict.digest == judge(recorded).digest


def _counts(value: bytes, run: int) -> bool:
    name, record = decode_record(value)
    return record["run"] == run and name not in ("RunOpened", "RunClosed", "ChainSealed", "InstrumentListed",
                                                 "AgentFounded")  # fmt: skip


def test_a_finished_run_that_claims_another_digest(recorded: Recorded) -> None:
    clock = recorded.segment.clock
    assert clock.finished is not None
    lying = ClockLog(clock.run, clock.started, finished=clock.finished | {"digest": "00" * 16})
    verdict = judge(replace(recorded, segment=replace(recorded.segment, clock=lying)))
    assert [f.fault for f in verdict.findings] == [Fault.CHANGED] * 2
    tape = ClockLog(clock.run, (clock.started or {}) | {"last_epoch": -1})
    with pytest.raises(InputError, match="tape"):
        Audit(replace(recorded.segment, clock=tape))

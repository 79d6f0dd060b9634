"""A worker that does nothing says so, and ends where nothing else helps: by its progress, and by its client."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, InvalidSessionTimeoutError, KafkaError

from economy.errors import SetupError
from infra.cli.stack import _state
from schemas.catalogue import ORDERS
from schemas.log.reader import Place
from streams import membership
from streams.health import Watch, ailment, file_of
from streams.matcher import MatchingWorker
from streams.settings import ProjectionSettings

A, B = (ORDERS, 0), (ORDERS, 1)


class Log:
    """Stands in for LogReader."""

    def __init__(self, ends: dict[Place, int]) -> None:
        self.ends, self.away = ends, False

    def end_offsets(self, places: list[Place], timeout: float) -> dict[Place, int]:
        if self.away:
            raise SetupError("topic orders cannot be read", "is the broker up?")
        return {place: self.ends.get(place, 0) for place in places}


class Worker:
    """What a Watch looks at."""

    def __init__(self, folder: Path) -> None:
        self.at: dict[Place, int] | None = {A: 10, B: 10}
        self.fault: SetupError | None = None
        self.ended: list[str] = []
        self.log: Any = Log({A: 10, B: 20})
        self.options = ProjectionSettings(bootstrap="127.0.0.1:1", namespace="n", data=folder)
        self.watch = self.watched()

    def watched(self, patient: bool = False) -> Watch:
        return Watch(
            self.options, lambda: self.at, lambda error: self.ended.append(str(error)), lambda: self.fault, patient
        )

    def look(self, times: int) -> str:
        return [self.watch.look(self.log) for _ in range(times)][-1]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def test_input_without_progress_is_an_ailment_and_then_the_end(worker: Worker) -> None:
    assert worker.look(5) == ""
    assert worker.look(1) == f"{ORDERS}[1] has input and stands at offset 10 for 15 s"
    assert not worker.ended
    worker.look(15)
    assert worker.ended == [
        f"{ORDERS}[1] has input and stands at offset 10 for 60 s: it is started again from its snapshot"
    ]


def test_one_that_may_take_long_is_told_and_not_ended(worker: Worker) -> None:
    worker.watch = worker.watched(patient=True)
    assert worker.look(60).endswith("has input and stands at offset 10 for 177 s")
    assert not worker.ended


def test_partitions_that_are_being_restored_do_not_stand_still(worker: Worker) -> None:
    worker.at = {}
    assert worker.look(60) == ""
    worker.at = {A: 10, B: 10}
    assert worker.look(5) == ""
    assert not worker.ended


def test_a_matching_worker_tells_of_no_partition_while_it_restores() -> None:
    async def positions() -> list[Any]:
        part = SimpleNamespace(state=SimpleNamespace(next_offset=5))
        matching: Any = SimpleNamespace(restoring=asyncio.Lock(), partitions={1: part})
        async with matching.restoring:
            told = [MatchingWorker.positions(matching)]
        return [*told, MatchingWorker.positions(matching)]

    assert asyncio.run(positions()) == [{}, {B: 5}]


@pytest.mark.parametrize("error", [AttributeError("it has no group"), KeyError(B), SystemExit(0)])
def test_a_worker_that_cannot_be_looked_at_ends(worker: Worker, error: BaseException) -> None:
    def failing() -> NoReturn:
        raise error

    watch = Watch(worker.options, failing, lambda why: worker.ended.append(repr(why)), patient=True)
    watch.start()
    watch.join(20)
    assert not watch.is_alive()
    assert worker.ended == [repr(error)]


def test_progress_and_an_empty_log_are_well(worker: Worker) -> None:
    worker.look(6)
    worker.at = {A: 10, B: 11}
    assert worker.look(1) == ""
    worker.at = {A: 10, B: 20}
    assert worker.look(50) == ""
    assert not worker.ended


def test_a_broker_that_is_away_is_not_the_workers_fault(worker: Worker) -> None:
    worker.look(6)
    worker.log.away = True
    for at in ({A: 10, B: 10}, None):
        worker.at = at
        assert worker.look(50) == ""
    assert not worker.ended


def test_a_worker_without_a_place_in_its_group(worker: Worker) -> None:
    worker.at = None
    assert worker.look(5) == "it has had no place in its group for 15 s"
    worker.at = {}  # another worker has all partitions
    assert worker.look(30) == ""
    worker.at = None
    worker.look(20)
    assert len(worker.ended) == 1


def test_a_fault_of_the_client_is_the_end_at_once(worker: Worker) -> None:
    worker.fault = SetupError("the group refuses this worker", "let it")
    assert worker.look(1) == "the group refuses this worker: let it"
    assert worker.ended == ["the group refuses this worker: let it"]
    worker.watch.stop()  # it is about to end, and its tasks end as well
    worker.look(1)
    assert len(worker.ended) == 1


def test_what_is_asked_from_outside(tmp_path: Path) -> None:
    def asked() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "streams.health", "--data", str(tmp_path), "--name", "w0"],
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr.strip()

    assert "w0 has not told how it is" in ailment(tmp_path, "w0")
    told = {"pid": os.getpid(), "at": time.time(), "why": ""}
    file_of(tmp_path, "w0").write_text(json.dumps(told))
    assert asked() == (0, "")
    for foreign in (
        "[]",
        "7",
        '{"pid": 1}',
        '{"pid": "x", "at": 1, "why": ""}',
        '{"pid": 1, "at": [], "why": ""}',
        "{",
    ):
        file_of(tmp_path, "w0").write_text(foreign)
        assert "w0 has not told how it is" in ailment(tmp_path, "w0")
    file_of(tmp_path, "w0").write_text(json.dumps({**told, "why": "it has no place"}))
    assert asked() == (1, "escape: it has no place: see the log of w0")
    file_of(tmp_path, "w0").write_text(json.dumps({**told, "at": time.time() - 60}))
    assert ailment(tmp_path, "w0").endswith("has said nothing for 60 s")


def test_of_a_process_that_has_just_started_nothing_is_said(tmp_path: Path) -> None:
    assert ailment(tmp_path, "w0", pid=5) == ""
    told = {"pid": 4, "at": time.time(), "why": "it has no place"}
    file_of(tmp_path, "w0").write_text(json.dumps(told))
    assert ailment(tmp_path, "w0", pid=5) == ""  # its predecessor's word
    assert ailment(tmp_path, "w0", pid=4) == "it has no place"


def test_status_says_who_is_ill() -> None:
    well, ill, failed = ({"running": True, "failed": f, "ill": i} for f, i in (("", ""), ("", "x"), ("y", "x")))
    assert [_state(one) for one in (well, ill, failed)] == ["yes", "ill", "fails"]


# ---- aiokafka's own
def task(error: BaseException | None = None, done: bool = True) -> asyncio.Future[None]:
    made: asyncio.Future[None] = asyncio.get_event_loop_policy().new_event_loop().create_future()
    if done and error is None:
        made.cancel()
    elif done and error is not None:
        made.set_exception(error)
        made.exception()  # somebody has seen it
    made.get_loop().close()
    return made


def client(**ended: BaseException | None) -> Any:
    """A consumer and producer in one, whose tasks run but for those that are named."""

    def state(name: str) -> asyncio.Future[None]:
        return task(ended[name]) if name in ended else task(done=False)

    return SimpleNamespace(
        _coordinator=SimpleNamespace(
            _coordination_task=state("_coordination_task"), _pending_exception=None, group_id="g"
        ),
        _fetcher=SimpleNamespace(_fetch_task=state("_fetch_task")),
        _client=SimpleNamespace(
            _sync_task=state("_sync_task"), cluster=SimpleNamespace(unauthorized_topics=set[str]())
        ),
        client=SimpleNamespace(_sync_task=task(done=False)),
        _sender=SimpleNamespace(_sender_task=state("_sender_task")),
        _subscription=SimpleNamespace(topics={"orders"}),
    )


def test_aiokafka_is_the_one_that_is_looked_into() -> None:
    membership.check()


def test_a_client_whose_tasks_run_is_well() -> None:
    assert membership.fault(client(), client()) is None
    assert membership.fault(None, None) is None


@pytest.mark.parametrize("part", ["_coordinator", "_fetcher"])
def test_a_client_that_has_not_started_is_not_there_yet(part: str) -> None:
    starting = client()
    setattr(starting, part, None)
    starting._subscription.subscription = SimpleNamespace()
    if starting._coordinator is not None:
        starting._coordinator.need_rejoin = lambda subscription: False
    assert membership.fault(starting, client()) is None
    assert membership.belongs(starting) is (part != "_coordinator")


async def _fresh() -> tuple[SetupError | None, bool]:
    consumer = AIOKafkaConsumer("orders", bootstrap_servers="127.0.0.1:1", group_id="g")
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    found = membership.fault(consumer, producer), membership.belongs(consumer)
    await consumer.stop()
    await producer.stop()
    return found


def test_aiokafkas_own_clients_before_their_start() -> None:
    assert asyncio.run(_fresh()) == (None, False)


@pytest.mark.parametrize("name", ["_coordination_task", "_fetch_task", "_sync_task", "_sender_task"])
@pytest.mark.parametrize("error", [KafkaError("boom"), None])
def test_a_task_in_the_background_that_has_ended(name: str, error: BaseException | None) -> None:
    found = membership.fault(client(**{name: error}), client(**{name: error}))
    assert found is not None
    assert "of the client of Kafka has ended" in found.message
    assert ("boom" if error else "cancelled") in found.message


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (InvalidSessionTimeoutError(), "--session-timeout"),
        (GroupAuthorizationFailedError("g"), "let its user read the group"),
        (KafkaError("InconsistentGroupProtocolError"), "see the broker's log"),
    ],
)
def test_a_group_that_refuses(error: KafkaError, remedy: str) -> None:
    refused = client()
    refused._coordinator._pending_exception = error
    found = membership.fault(refused, client())
    assert found is not None
    assert found.message.startswith("the group g refuses this worker: ")
    assert remedy in found.remedy


def test_a_topic_that_is_hidden() -> None:
    hidden = client()
    hidden._client.cluster.unauthorized_topics = {"orders", "others"}
    found = membership.fault(hidden, client())
    assert found is not None
    assert found.message.startswith("the broker hides orders: ")

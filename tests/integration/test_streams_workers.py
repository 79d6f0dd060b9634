"""Several workers share the partitions of a group: whoever joins, leaves, dies or comes back, nothing changes."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from infra.broker import Broker
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings
from schemas.catalogue import TRADES
from schemas.log import topics
from schemas.log.reader import end_offsets
from schemas.log.writer import LogWriter
from tests.integration.flow import Crew, Flow, collect
from tests.processes import PATIENCE

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
PARTITIONS = 4


def _random_kills(broker: Broker, namespace: str, folder: Path, count: int, kills: int, seed: int) -> None:
    """Two workers under a stream of orders; one that has partitions is killed at a random moment and started again."""
    flow, luck = Flow(21, count, PARTITIONS), random.Random(seed)
    topics.create(broker.bootstrap, namespace, PARTITIONS, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    cuts = sorted(luck.sample(range(count), 3 * kills - 1))
    with Crew(broker.bootstrap, namespace, PARTITIONS, folder) as crew:
        crew.start("a", "b")
        flow.open(writer)
        needed = {"a": 1, "b": 1}
        for step, (start, end) in enumerate(itertools.pairwise([0, *cuts, count])):
            if step % 3 == 1:
                name = luck.choice("ab")
                crew.wait_restored(name, needed[name])
                time.sleep(luck.uniform(0, 1))
                flow.send(writer, start, end)
                crew.kill(name)
                needed[name] = crew.restored(name) + 1
                crew.start(name)
            else:
                flow.send(writer, start, end)
        flow.close(writer)
        got = collect(broker.bootstrap, namespace, flow)
    assert got.records == flow.expected()
    print(f"{len(got.records)} records, {got.duplicates} of them twice on the log, {kills} kills")


def test_three_kills_change_nothing(broker: Broker, namespace: str, tmp_path: Path) -> None:
    _random_kills(broker, namespace, tmp_path, 30_000, 3, seed=1)


@pytest.mark.soak
def test_twenty_four_kills_over_a_million_orders_change_nothing(broker: Broker, namespace: str, tmp_path: Path) -> None:
    _random_kills(broker, namespace, tmp_path, 1_000_000, 24, seed=2)


def test_joining_and_leaving_under_load_change_nothing(broker: Broker, namespace: str, tmp_path: Path) -> None:
    flow, sent, done = Flow(22, 200_000, PARTITIONS), 0, threading.Event()
    topics.create(broker.bootstrap, namespace, PARTITIONS, 1)

    def keep_sending() -> None:
        nonlocal sent
        writer = LogWriter(broker.bootstrap, namespace)
        flow.open(writer)
        while sent < flow.count and not done.is_set():
            flow.send(writer, sent, sent + 50)
            sent += 50
            time.sleep(0.02)
        flow.close(writer)

    sending = threading.Thread(target=keep_sending)
    # A long session: on a busy machine a member that still lives must not count as dead.
    with Crew(broker.bootstrap, namespace, PARTITIONS, tmp_path, session=30.0) as crew:
        crew.start("a")
        crew.wait_restored("a", PARTITIONS)
        sending.start()
        try:
            crew.start("b", "c")  # the group is balanced twice in a row, and one of three may get nothing
            crew.wait_started("b")
            crew.wait_started("c")
            crew.stop("a")
            crew.wait_restored("b")
            crew.wait_restored("c")
            crew.stop("b")
        finally:
            done.set()
            sending.join()
        got = collect(broker.bootstrap, namespace, flow)
        # Nobody died: who left in time had written a last snapshot, and nothing was left to compare. Who was too slow
        # says so; then a record may be there twice, which every reader expects.
        late = [name for name in "abc" if "without a last snapshot" in crew.log(name)]
        assert late or got.duplicates == 0
    assert got.records == flow.expected(sent)


def test_a_stopped_worker_that_comes_back_harms_nothing(broker: Broker, namespace: str, tmp_path: Path) -> None:
    flow = Flow(23, 24_000, PARTITIONS)
    topics.create(broker.bootstrap, namespace, PARTITIONS, 1)
    writer = LogWriter(broker.bootstrap, namespace)
    with Crew(broker.bootstrap, namespace, PARTITIONS, tmp_path, session=1.5) as crew:
        crew.start("a")
        crew.wait_restored("a", PARTITIONS)
        flow.open(writer)
        crew.start("b")
        crew.wait_restored("b", PARTITIONS // 2)
        flow.send(writer, 0, 6000)
        crew.members["a"].send_signal(signal.SIGSTOP)  # in the midst of its batches
        before = crew.restored("b")
        flow.send(writer, 6000, 12_000)
        crew.wait_restored("b", before + PARTITIONS)  # the group has given it up: all is b's
        flow.send(writer, 12_000, 18_000)
        crew.members["a"].send_signal(signal.SIGCONT)  # it goes on where it was, until it learns
        flow.send(writer, 18_000, 24_000)
        flow.close(writer)
        got = collect(broker.bootstrap, namespace, flow)
    assert got.records == flow.expected()


def test_a_killed_broker_that_starts_again_loses_nothing(namespace: str, tmp_path: Path) -> None:
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    flow = Flow(24, 16_000, PARTITIONS)
    with Broker(
        tmp_path / "broker", home, broker_classpath(settings.cache_folder, home),
        options=("-XX:TieredStopAtLevel=1",), archive=settings.cache_folder / "broker-c1.jsa",
    ) as broker:  # fmt: skip
        topics.create(broker.bootstrap, namespace, PARTITIONS, 1)
        writer = LogWriter(broker.bootstrap, namespace)
        with Crew(broker.bootstrap, namespace, PARTITIONS, tmp_path) as crew:
            crew.start("a", "b")
            crew.wait_restored("a")
            crew.wait_restored("b")
            flow.open(writer)
            flow.send(writer, 0, 8000)
            places = [(TRADES, p) for p in range(PARTITIONS)]
            limit = time.monotonic() + PATIENCE
            while not all(end_offsets(broker.bootstrap, namespace, places).values()):
                assert time.monotonic() < limit
                time.sleep(0.05)
            assert broker.process is not None
            broker.process.kill()
            broker.process.wait()
            crew.kill("b")
            crew.start("b")  # it has to wait for the broker
            broker.start()
            flow.send(writer, 8000, 16_000)
            flow.close(writer)
            got = collect(broker.bootstrap, namespace, flow)
            assert all(member.poll() is None for member in crew.members.values())  # nobody had to be started again
    assert got.records == flow.expected()

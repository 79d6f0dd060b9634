"""Writer, reader and assembly against the real broker."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from economy.errors import SetupError
from economy.records import events as e
from economy.records.digest import mark
from infra.broker import Broker
from schemas.catalogue import FLOWS, TRADES, topic
from schemas.log import topics
from schemas.log.assembly import EpochAssembler
from schemas.log.reader import read_all
from schemas.log.writer import LogWriter
from tests.processes import PATIENCE

pytestmark = pytest.mark.integration


def flows(run: int, shard: int, epoch: int, n: int, agents: int) -> np.ndarray:
    rng = np.random.default_rng(epoch * 10 + shard)
    rows = rng.integers(0, 10**12, (n, e.MoneyTransferred.width))
    rows[:, 0] = run
    rows[:, 1] = epoch * 20 + rng.integers(0, 20, n)
    rows[:, 2] = rng.integers(0, agents, n) * 2 + shard
    rows[:, 3] = np.arange(n) + epoch * 1000
    rows[:, e.MoneyTransferred.KIND] = rng.integers(0, 5, n)
    return rows


def test_epochs_survive_the_log_with_duplicates_and_other_runs_between(broker: Broker, namespace: str) -> None:
    topics.create(broker.bootstrap, namespace, 2, 2)
    topics.create(broker.bootstrap, namespace, 2, 2)  # again: nothing to do
    writer = LogWriter(broker.bootstrap, namespace)
    sent = {}
    for epoch in range(3):
        for shard in range(2):
            rows = flows(7, shard, epoch, 50, 40)
            sent[epoch, shard] = rows
            for _ in range(2):  # a restarted shard sends the open epoch again
                for partition in range(2):
                    mine = rows[rows[:, 2] % 2 == partition]
                    writer.send_rows("MoneyTransferred", mine, partition)
                    writer.send_rows("MoneyTransferred", flows(8, shard, epoch, 5, 3), partition)
                    count, digest, chain = mark({"MoneyTransferred": mine}, e.ChainScope.FLOWS, 0)
                    closed = np.array([[7, epoch, shard, partition, count, digest, chain, 0, 1]])
                    writer.send_rows("EpochClosed", closed, partition, FLOWS)
        for partition in range(2):
            writer.send_rows("EpochMatched", np.array([[7, epoch, partition, 0, 0, 0, 0]]), partition)
    writer.flush()
    assembler = EpochAssembler(7, 2, 2, 2, 20, next_epoch=0)
    for chunk in read_all(broker.bootstrap, namespace, [(f, p) for f in (FLOWS, TRADES) for p in range(2)]):
        assembler.add(chunk)
    for epoch in range(3):
        assert assembler.complete(), assembler.missing(epoch)
        number, taken, _ = assembler.take()
        assert number == epoch
        expected = np.concatenate([sent[epoch, 0], sent[epoch, 1]])
        got = taken[FLOWS]["MoneyTransferred"]
        assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, expected.tolist()))
        assert (np.diff(got[:, 1]) >= 0).all()
    assert not assembler.complete()


def test_topics_have_the_replicas_that_the_settings_ask_for(broker: Broker, namespace: str) -> None:
    with pytest.raises(SetupError, match=r"cannot be created.*replication"):
        topics.create(broker.bootstrap, namespace, 1, 1, topics.Replicas(2))  # there is one broker
    topics.create(broker.bootstrap, namespace, 1, 1, topics.Replicas(1, min_insync=1))
    topics.create(broker.bootstrap, namespace, 1, 1, topics.Replicas(1, min_insync=1))
    topics.create(broker.bootstrap, namespace, 1, 1)  # whatever is there
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic(namespace, FLOWS))
    told = admin.describe_configs([resource])[resource].result(PATIENCE)["min.insync.replicas"]
    assert (told.value, told.is_default) == ("1", False)
    with pytest.raises(SetupError, match="1 replicas, not 2"):
        topics.create(broker.bootstrap, namespace, 1, 1, topics.Replicas(2))
    with pytest.raises(SetupError, match=r"min\.insync\.replicas = 1, not 2"):
        topics.create(broker.bootstrap, namespace, 1, 1, topics.Replicas(min_insync=2))


def test_the_broker_chooses_the_replicas_where_no_setting_does(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    asked: list[NewTopic] = []

    class Noting(AdminClient):
        # The stubs of its two bases disagree.
        def create_topics(self, new_topics: list[NewTopic], **_: Any) -> dict[str, Future[Any]]:  # type: ignore[override]
            asked.extend(new_topics)
            return {}

    monkeypatch.setattr(topics, "AdminClient", Noting)
    topics.create(broker.bootstrap, "nobodys", 1, 1)
    assert {new.replication_factor for new in asked} == {-1}
    assert all("min.insync.replicas" not in new.config for new in asked)

"""Writer, reader and assembly against the real broker."""

from __future__ import annotations

import numpy as np
import pytest

from economy import events as e
from economy.digest import mark
from infra.broker import Broker
from schemas.catalogue import FLOWS, TRADES
from schemas.log import topics
from schemas.log.assembly import EpochAssembler
from schemas.log.reader import read_all
from schemas.log.writer import LogWriter

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

"""The digest: independent of order and shards, changed by any bit of any field."""

from __future__ import annotations

import numpy as np
import pytest

from economy import events as e
from economy.digest import Chains, digest_of, mark, run_digest
from economy.events import ChainScope, Events


def epoch(number: int) -> Events:
    rng = np.random.default_rng(number)
    flows = rng.integers(0, 50, (40, e.MoneyTransferred.width))
    flows[:, 1] = number * 20 + rng.integers(0, 20, 40)
    flows[:, 3] = np.arange(40)
    trades = rng.integers(0, 9, (30, e.TradeExecuted.width))
    trades[:, 2] = np.arange(30)
    orders = rng.integers(0, 9, (30, e.OrderSubmitted.width))
    orders[:, 3] = np.arange(30)
    return {e.MoneyTransferred.name: flows, e.TradeExecuted.name: trades, e.OrderSubmitted.name: orders}


RUN = [(n, epoch(n)) for n in range(5)]


def test_order_of_records_and_the_run_id_do_not_show() -> None:
    rng = np.random.default_rng(1)
    shuffled = [(n, {k: v[rng.permutation(len(v))] for k, v in events.items()}) for n, events in RUN]
    renamed = [(n, {k: np.column_stack((v[:, 0] + 1, v[:, 1:])) for k, v in events.items()}) for n, events in shuffled]
    assert digest_of(renamed) == digest_of(RUN)


@pytest.mark.parametrize("name", [e.MoneyTransferred.name, e.TradeExecuted.name, e.OrderSubmitted.name])
def test_every_field_shows(name: str) -> None:
    whole = digest_of(RUN)
    for column in range(1, RUN[2][1][name].shape[1]):
        events = {k: v.copy() for k, v in RUN[2][1].items()}
        events[name][7, column] += 1
        assert digest_of([*RUN[:2], (2, events), *RUN[3:]]) != whole, column


def test_chains_split_over_writers_and_restored_make_the_same_digest() -> None:
    heads = []
    for shard in range(3):
        chains = Chains((ChainScope.FLOWS,))
        for n, events in RUN:
            rows = events[e.MoneyTransferred.name]
            chains.update(n, {e.MoneyTransferred.name: rows[rows[:, 2] % 3 == shard]})
            chains = Chains.from_rows(chains.rows(), chains.scopes)
        heads += [tuple(row) for row in chains.rows().tolist()]
    rest = Chains((ChainScope.ORDERS, ChainScope.TRADES))
    for n, events in RUN:
        rest.update(n, events)
    heads += [tuple(row) for row in rest.rows().tolist()]
    assert run_digest(heads) == digest_of(RUN)


def test_markers_chain() -> None:
    first = mark(RUN[0][1], ChainScope.FLOWS, 0)
    assert first[0] == 40
    assert mark(RUN[0][1], ChainScope.FLOWS, 1)[1:] == (first[1], mark(RUN[0][1], ChainScope.FLOWS, 1)[2])
    assert mark(RUN[0][1], ChainScope.FLOWS, 1)[2] != first[2]

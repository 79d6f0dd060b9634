"""The digest: independent of order and shards, changed by any bit of any field."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest

from economy.records import canonical
from economy.records import events as e
from economy.records.blake import chain_parts, hash_parts
from economy.records.digest import CODES, Chains, FreeDigest, digest_of, mark, marks, pack, run_digest
from economy.records.events import ChainScope, Events


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


def test_the_digest_of_a_free_run_does_not_show_where_its_pieces_end() -> None:
    rng = np.random.default_rng(3)
    orders = rng.integers(0, 9, (400, e.OrderSubmitted.width))
    orders[:, 1] = np.sort(rng.integers(0, 40, 400))
    orders[:, 3] = np.arange(400)
    cancels = rng.integers(0, 9, (100, e.OrderCancelRequested.width))
    cancels[:, 1] = np.sort(rng.integers(0, 40, 100))
    cancels[:, 3] = np.arange(400, 500)
    seq = np.arange(300)
    trades = rng.integers(0, 9, (200, e.TradeExecuted.width))
    closes = rng.integers(0, 9, (100, e.OrderClosed.width))
    trades[:, 2], closes[:, 2] = np.delete(seq, seq[::3]), seq[::3]
    for rows in (trades, closes):
        rows[:, 1] = rows[:, 2] % 4
    kinds = (e.OrderSubmitted.name, e.OrderCancelRequested.name, e.TradeExecuted.name, e.OrderClosed.name)
    whole = dict(zip(kinds, (orders, cancels, trades, closes), strict=True))
    for pieces in (1, 2, 7, 50):
        free = FreeDigest()
        cuts = np.sort(rng.integers(0, 40, pieces - 1))  # any tick, also one in the middle of equal ticks
        for low, high in zip([-1, *cuts], [*cuts, 40], strict=True):
            free.submitted({k: whole[k][(whole[k][:, 1] > low) & (whole[k][:, 1] <= high)] for k in kinds[:2]})
        for low, high in zip([0, *(cuts * 7)], [*(cuts * 7), 300], strict=True):
            # A worker that was killed writes some of its output twice.
            piece = {k: whole[k][(whole[k][:, 2] >= low - 9) & (whole[k][:, 2] < high)] for k in kinds[2:]}
            for name, rows in free.traded(piece).items():
                assert ((rows[:, 2] >= low) & (rows[:, 2] < high)).all(), name
        assert free.hexdigest() == digest_of([(0, whole)])


def test_many_groups_and_epochs_at_once_are_what_each_is_alone() -> None:
    merged = {name: np.concatenate([events[name] for _, events in RUN]) for name in RUN[0][1]}
    epochs = {name: np.repeat([n for n, _ in RUN], [len(events[name]) for _, events in RUN]) for name in merged}
    for scope in ChainScope:
        found = marks(merged, scope, epochs).tolist()
        alone = [[n, *mark(events, scope, 0)[:2]] for n, events in RUN]
        assert found == [row for row in alone if row[1]]
    chains = Chains()
    chains.extend(merged, epochs)
    assert run_digest(tuple(row) for row in chains.rows().tolist()) == digest_of(RUN)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 100])
def test_compiled_blake2b_is_that_of_the_standard_library(size: int) -> None:
    words = np.random.default_rng(size).integers(-(2**63), 2**63 - 1, 2 * size, np.int64)
    bounds = np.array([0, size, 2 * size])
    parts = [words[:size].tobytes(), words[size:].tobytes()]
    assert [blake2b(part, digest_size=8).digest() for part in parts] == [
        int(found).to_bytes(8, "little", signed=True) for found in hash_parts(words, bounds)
    ]
    heads, begun = np.zeros((1, 2), np.int64), np.zeros(1, np.bool_)
    chain_parts(words, bounds, np.array([-1, 5]), np.zeros(2, np.int64), heads, begun)
    first = blake2b((-1).to_bytes(8, "little", signed=True) + parts[0], digest_size=16).digest()
    assert heads.tobytes() == blake2b(first + (5).to_bytes(8, "little") + parts[1], digest_size=16).digest()


def test_the_codes_of_the_digest_are_those_that_recorded_runs_were_sealed_with() -> None:
    """By number, as they were given out: a new type takes the next number, behind all of these."""
    given = [
        "AgentDecided", "OrderSubmitted", "OrderCancelRequested", "TradeExecuted",
        "OrderRejected", "OrderClosed", "BookUpdated", "TradingHalted",
        "TradingResumed", "PriceBandChanged", "PriceFixed", "OpeningBalance",
        "OpeningParameter", "GoodsProduced", "GoodsConsumed", "CapitalDepreciated",
        "MoneyTransferred", "PaymentDue", "ContractOffered", "ContractAccepted",
        "ContractSigned", "ContractEnded", "SharesIssued", "SharesCancelled",
        "AgentBankrupt", "PolicyChanged", "StatisticsPublished",
    ]  # fmt: skip
    assert {name: CODES[name] for name in given} == {name: code for code, name in enumerate(given, 1)}
    assert sorted(CODES.values()) == list(range(1, len(CODES) + 1))
    typed = canonical.DECISION_TYPES + canonical.ORDER_TYPES + canonical.TRADE_TYPES + canonical.FLOW_TYPES
    assert sorted(typed) == sorted(CODES)


def test_a_words_first_is_the_code_of_its_type() -> None:
    rows = np.arange(e.PriceFixed.width, dtype=np.int64).reshape(1, -1)
    packed = pack({e.PriceFixed.name: rows}, ChainScope.TRADES)
    assert packed.words.tolist() == [11, *range(1, e.PriceFixed.width)]

"""LOBSTER message files: every execution comes out again, partial cancels keep their place, wrong messages named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from economy.errors import InputError
from economy.markets.book import OrderBook
from economy.markets.market import Market
from economy.records.events import OrderRejected, Rows, Side, TradeExecuted
from runs.tapes import lobster
from tests.lobster import Message, synthetic, write


def replay(tape: lobster.Tape) -> tuple[Rows, Rows]:
    """(trades, rejections)"""
    records = tape.records
    events = Market(0, 0, 1, [tape.instrument]).match_free(records.orders, records.cancels, records.arrival)
    none = np.empty((0, OrderRejected.width), np.int64)
    return events[TradeExecuted.name], events.get(OrderRejected.name, none)


@pytest.mark.parametrize("seed", range(5))
def test_every_execution_of_a_whole_day_comes_out_again(seed: int, tmp_path: Path) -> None:
    messages = synthetic(seed, 3000)
    assert min(sum(m[1] == kind for m in messages) for kind in (1, 2, 3, 4)) > 200
    tape = lobster.read_tape(write(tmp_path / "TEST_2012-06-21_1_2_message_0.csv", messages))
    trades, rejected = replay(tape)
    compared = lobster.compare(tape, trades)
    assert compared.trades == compared.prints == compared.matched == sum(m[1] == 4 for m in messages)
    assert len(rejected) == 0  # no order crosses, no cancel comes too late
    assert (compared.differences, tape.unseen) == ([], 0)
    assert tape.instrument.symbol == "TEST"
    assert tape.left_out["hidden executions"] == sum(m[1] == 5 for m in messages)


@pytest.mark.parametrize("seed", range(5, 10))
def test_a_file_that_begins_in_mid_session_too(seed: int, tmp_path: Path) -> None:
    messages = synthetic(seed, 3000)[1500:]
    tape = lobster.read_tape(write(tmp_path / "day.csv", messages))
    trades, rejected = replay(tape)
    compared = lobster.compare(tape, trades)
    assert tape.unseen > 20
    assert compared.trades == compared.prints == compared.matched > 200
    assert len(rejected) == 0


def test_orders_that_come_into_view_late_are_placed_by_their_age(tmp_path: Path) -> None:
    """The file covers few levels: some orders are first mentioned long after they were sent."""
    rng = np.random.default_rng(1)
    messages = synthetic(11, 3000)
    hidden = set(rng.choice([m[2] for m in messages if m[1] == 1], 300, replace=False).tolist())
    tape = lobster.read_tape(write(tmp_path / "day.csv", [m for m in messages if m[1] != 1 or m[2] not in hidden]))
    trades, _ = replay(tape)
    compared = lobster.compare(tape, trades)
    assert compared.trades == compared.prints == compared.matched
    assert tape.unseen > 200


def test_the_trades_of_our_own_book_come_out_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    book, messages, expected, standing = OrderBook(), [], [], {}
    for order in range(1, 2000):
        time, side = f"{34200 + order}", Side(rng.integers(2))
        if standing and rng.random() < 0.3:
            gone = int(rng.choice(list(standing)))
            left, price, direction = standing.pop(gone)
            book.cancel(order=gone, agent=gone)
            messages.append((time, 3, gone, left, price, direction))
            continue
        direction = 1 if side == Side.BUY else -1
        price, size = 5000 + int(rng.integers(-20, 12)) * direction, int(rng.integers(1, 90))
        done = book.add(order=order, agent=order, side=side, price=price, quantity=size)
        for trade in done.trades:
            left, at, resting = standing.pop(trade.maker_order)
            if left > trade.quantity:
                standing[trade.maker_order] = (left - trade.quantity, at, resting)
            messages.append((time, 4, trade.maker_order, trade.quantity, at, resting))
            expected.append([trade.maker_order, trade.price, trade.quantity])
        if done.rested:
            standing[order] = (done.rested, price, direction)
            messages.append((time, 1, order, done.rested, price, direction))
    tape = lobster.read_tape(write(tmp_path / "own.csv", messages))
    trades, rejected = replay(tape)
    t = TradeExecuted
    assert trades[:, [t.MAKER_AGENT, t.PRICE, t.QUANTITY]].tolist() == expected
    assert len(expected) > 300
    assert len(rejected) == 0


_DAY: list[Message] = [
    ("34200", 1, 10, 100, 50000, 1),
    ("34200.5", 1, 11, 50, 50000, 1),
    ("34201", 2, 10, 40, 50000, 1),  # keeps its place before 11
    ("34202", 4, 10, 60, 50000, 1),
    ("34203", 4, 11, 20, 50000, 1),
    ("34204", 5, 0, 5, 50100, -1),
    ("34205", 7, 0, 0, -1, -1),
    ("34206", 6, -1, 500, 50000, 1),
    ("34207", 3, 11, 30, 50000, 1),
]


def test_a_day_by_hand(tmp_path: Path) -> None:
    tape = lobster.read_tape(write(tmp_path / "day.csv", _DAY), "HAND")
    trades, rejected = replay(tape)
    t = TradeExecuted
    assert trades[:, [t.MAKER_AGENT, t.MAKER_ORDER, t.QUANTITY]].tolist() == [[10, 10, 60], [11, 11, 20]]
    assert trades[:, t.TICK].tolist() == [34_202 * 10**9, 34_203 * 10**9]
    assert trades[:, t.TAKER_SIDE].tolist() == [Side.SELL, Side.SELL]
    assert len(rejected) == 0
    assert (tape.instrument.symbol, tape.instrument.price_scale) == ("HAND", 4)
    assert tape.left_out == {"hidden executions": 1, "cross trades": 1, "halts": 1}


def test_differences_are_told_with_their_reason(tmp_path: Path) -> None:
    tape = lobster.read_tape(write(tmp_path / "day.csv", _DAY))
    trades, _ = replay(tape)
    t = TradeExecuted
    other, less = trades.copy(), trades.copy()
    other[0, t.MAKER_AGENT] = 11
    less[1, t.QUANTITY] = 3
    for rows, row, reason in ((other, 4, "another order"), (less, 5, "fewer shares"), (trades[1:], 4, "nothing stood")):
        compared = lobster.compare(tape, rows)
        assert compared.matched == 1
        (difference,) = compared.differences
        assert difference["row"] == row
        assert reason in difference["reason"]
        assert list(compared.by_reason.values()) == [1]


def _row(number: int, *cells: object) -> Callable[[list[Message]], list[Message]]:
    def change(messages: list[Message]) -> list[Message]:
        return [*messages[: number - 1], cells, *messages[number:]]  # type: ignore[list-item]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_row(2, "34199", 1, 11, 50, 50000, 1), ("row 2 time = '34199'", "earlier")),
        (_row(2, "x", 1, 11, 50, 50000, 1), ("row 2 time = 'x'", "decimal")),
        (_row(2, "34200.5", 8, 11, 50, 50000, 1), ("row 2 type = '8'",)),
        (_row(2, "34200.5", 1, 0, 50, 50000, 1), ("row 2 order = '0'",)),
        (_row(2, "34200.5", 1, 11, 0, 50000, 1), ("row 2 size = '0'",)),
        (_row(2, "34200.5", 1, 11, 50, -5, 1), ("row 2 price = '-5'",)),
        (_row(2, "34200.5", 1, 11, 50, 50000, 0), ("row 2 direction = '0'",)),
        (_row(2, "34200.5", 1, 10, 50, 50000, 1), ("row 2 order = 10", "unique")),
        (_row(4, "34202", 4, 10, 61, 50000, 1), ("row 4 size = 61", "not as many")),
        (_row(4, "34202", 4, 10, 60, 50001, 1), ("row 4 price = 50001", "another price")),
        (_row(4, "34202", 4, 10, 60, 50000, -1), ("row 4 direction = -1", "another direction")),
        (lambda messages: [], ("CSV",)),
        (lambda messages: [m[:4] for m in messages], ("day.csv columns = 4",)),
    ],
)
def test_a_wrong_message_is_named(
    change: Callable[[list[Message]], list[Message]], words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as raised:
        lobster.read_tape(write(tmp_path / "day.csv", change(_DAY)))
    for word in words:
        assert word in str(raised.value)

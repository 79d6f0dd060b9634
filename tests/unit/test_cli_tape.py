"""The Bitstamp tape: matched in process against the exchange's prints, and wrong tapes refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from economy.errors import InputError
from economy.markets.market import Market
from economy.records.events import OrderRejected, RejectReason, TradeExecuted
from runs.tapes import bitstamp


def test_the_market_reproduces_the_exchanges_prints() -> None:
    tape = bitstamp.read_tape(bitstamp.folder())
    events = Market(0, 0, 1, [tape.instrument]).match_free(tape.orders, tape.cancels, tape.arrival)
    compared = bitstamp.compare(tape, events[TradeExecuted.name])
    assert (compared.prints, compared.trades) == (284, 284)
    assert compared.matched == 284
    # The two that no replay from the orders alone can give are told.
    assert [d["print"] for d in compared.differences] == [568697549, 568701031]
    assert all("volume 0" in d["reason"] for d in compared.differences)
    refused = events[OrderRejected.name][:, OrderRejected.REASON]
    assert abs(int((refused == RejectReason.POST_ONLY_WOULD_CROSS).sum()) - 100_519) <= 1
    assert set(np.unique(refused)) <= {RejectReason.POST_ONLY_WOULD_CROSS, RejectReason.UNKNOWN_ORDER}


def test_a_changed_trade_and_a_missing_one_are_told() -> None:
    tape = bitstamp.read_tape(bitstamp.folder())
    events = Market(0, 0, 1, [tape.instrument]).match_free(tape.orders, tape.cancels, tape.arrival)
    trades = events[TradeExecuted.name][1:].copy()
    trades[5, TradeExecuted.PRICE] += 1
    compared = bitstamp.compare(tape, trades)
    assert compared.matched == 282
    reasons = [d["reason"] for d in compared.differences]
    assert sum("did not bring" in r for r in reasons) == 1
    assert sum("the market traded" in r for r in reasons) == 1


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path]:
    """A copy of the tape's first thousand messages, edited."""

    def edit(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        source = bitstamp.folder()
        table = pd.read_csv(source / bitstamp.ORDERS_FILE, nrows=1000)
        change(table).to_csv(tmp_path / bitstamp.ORDERS_FILE, index=False)
        shutil.copy(source / bitstamp.PRINTS_FILE, tmp_path)
        return tmp_path

    return edit


def _later(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[500, "exchange_timestamp"] += 99_999
    return table


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.drop(columns="price"), "column = 'price'"),
        (_later, "line 503 exchange_timestamp"),
        (lambda t: t.assign(price=t.price - 90_000.0), "line 2 price"),
        (lambda t: t.assign(price=t.price + 0.5), "line 2 price"),
        (lambda t: t.assign(volume=-t.volume), "line 2 volume"),
        (lambda t: t.assign(action="eaten"), "line 2 action = 'eaten'"),
        (lambda t: t.assign(direction="up"), "line 2 direction = 'up'"),
        (lambda t: t.assign(volume=[*t.volume[:-1], np.nan]), "line 1001 volume"),
        (lambda t: t.assign(id="a"), "column = 'id'"),
    ],
)
def test_a_wrong_tape_is_refused_by_name(
    edited: Callable[[Callable[[pd.DataFrame], pd.DataFrame]], Path],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    named: str,
) -> None:
    with pytest.raises(InputError, match=named.replace("(", r"\(")):
        bitstamp.read_tape(edited(change))


def test_an_unreadable_tape_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        bitstamp.read_tape(tmp_path)

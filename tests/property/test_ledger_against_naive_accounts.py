"""Ledger, measures and matrices against a computation with dicts and ints on random bookings."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from economy.errors import AccountingError
from economy.indicators import Window, WindowProjection
from economy.measures import MEASURES
from economy.records.events import Account
from tests.property.naive_accounts import (
    FIRMS,
    INSTRUMENTS,
    ISSUERS,
    PEOPLE,
    ROLES,
    RUN,
    SCENARIO,
    WINDOWS,
    Made,
    Naive,
    Record,
    rows_of,
)

COUNTED = ("TradeExecuted", "MoneyTransferred", "GoodsProduced", "GoodsConsumed", "CapitalDepreciated", "SharesIssued")


def projected(epochs: list[list[Record]]) -> list[Window]:
    projection = WindowProjection(RUN, SCENARIO, np.array(ROLES, np.int64), INSTRUMENTS)
    found = [projection.feed(number - 1, rows_of(records)) for number, records in enumerate(epochs)]
    return [window for window in found if window is not None]


def stocks(window: Window) -> dict[tuple[int, int, int], int]:
    return {(account, agent, item): q for _, _, agent, account, item, q in window.balances.tolist()}


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(0, 60))
@example(0, 0)
def test_balances_measures_and_matrices_equal_the_naive_ones(seed: int, per_epoch: int) -> None:
    made = Made(seed, per_epoch)
    naive, windows = Naive(made.epochs), projected(made.epochs)
    assert [w.window for w in windows] == list(range(WINDOWS))
    for window, figures, balances in zip(windows, naive.windows, naive.stocks, strict=True):
        assert dict(window.figures) == figures
        assert {name for name, _ in window.figures} == {m.name for m in MEASURES}
        assert stocks(window) == balances
        sheet, flows = window.balance_sheet.rows, window.transaction_flows.rows
        assert sheet["deposits"][0] == sum(balances[Account.CASH, person, 0] for person in PEOPLE)
        assert sheet["deposits"][1] == sum(balances[Account.CASH, firm, 0] for firm in FIRMS)
        assert sheet["bonds"][3:] == (-figures["government_debt", 0], figures["government_debt", 0])
        assert flows["wage"][1] == -figures["wages", 0]
        assert flows["consumption"][0] == -figures["consumption", 0]
        assert flows["investment"][1:3] == (figures["investment", 0], -figures["investment", 0])
        assert flows["change in inventories"][1] == figures["inventory_change", 0]
    issued = {issuer for (account, _, issuer), _ in naive.stocks[-1].items() if account == Account.SHARES}
    owed = sum(naive.value(issuer) for issuer in ISSUERS if issuer in issued)
    assert owed == sum(value for value in _equity_liabilities(windows[-1], naive, issued))


def _equity_liabilities(window: Window, naive: Naive, issued: set[int]) -> list[int]:
    """Equity of households and makers is what all issuers owe: nothing is lost where holdings are floored."""
    equity = window.balance_sheet.rows["equity"]
    makers_own = naive.value(ISSUERS[0]) if ISSUERS[0] in issued else 0
    return [equity[0], equity[2] + makers_own]


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.booleans())
def test_a_doubled_or_missing_record_shows(seed: int, doubled: bool) -> None:
    made = Made(seed, 30)
    expected = Naive(made.epochs)
    places = [
        (e, k)
        for e, part in enumerate(made.epochs)
        if e
        for k, (name, record) in enumerate(part)
        if name in COUNTED and record.get("payee", -1) != record.get("agent")  # who pays himself changes nothing
    ]
    epoch, place = random.Random(seed).choice(places)
    changed = [list(part) for part in made.epochs]
    record = changed[epoch].pop(place)
    changed[epoch] += [record, record] if doubled else []
    try:
        windows = projected(changed)
    except AccountingError:
        return
    same = [dict(w.figures) for w in windows] == expected.windows and [stocks(w) for w in windows] == expected.stocks
    assert not same

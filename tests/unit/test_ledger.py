"""The ledger refuses what breaks a conservation law and says which record of whom did it."""

from __future__ import annotations

import numpy as np
import pytest

from economy.errors import AccountingError, ProtocolError
from economy.indicators import WindowProjection
from economy.instruments import Instrument
from economy.ledger import Ledger, item_table
from economy.matrices import Matrix
from economy.records import events as e
from economy.records.events import Account, Events, InstrumentClass, Role, TransferKind, Use
from economy.scenario import load_scenario

FIRM, PERSON, CAPITAL = 3, 4, 1
INSTRUMENTS = [
    Instrument(0, "grain", InstrumentClass.GOOD, item=0),
    Instrument(1, "tool", InstrumentClass.GOOD, item=1),
]


def balance(agent: int, account: Account, quantity: int, item: int = 0) -> list[int]:
    return [1, -1, agent, 1, account, item, quantity]


def transfer(payer: int, payee: int, amount: int, withheld: int = 0, kind: TransferKind = TransferKind.WAGE) -> Events:
    return {e.MoneyTransferred.name: np.array([[1, 5, payer, 2, payee, kind, amount, withheld]], np.int64)}


def trade(
    buyer: int, seller: int, quantity: int, use: int = Use.CONSUMPTION, kind: int = InstrumentClass.GOOD
) -> Events:
    row = [1, 0, 9, 5, 1, quantity, seller, 1, buyer, 1, e.Side.BUY, use, kind, quantity * 100, 0]
    return {e.TradeExecuted.name: np.array([row], np.int64)}


def opened() -> Ledger:
    ledger = Ledger(5, 2, np.array([FIRM]), CAPITAL, item_table(INSTRUMENTS))
    rows = [
        balance(0, Account.CASH, 50), balance(1, Account.CASH, -1_150), balance(FIRM, Account.CASH, 100),
        balance(PERSON, Account.CASH, 1_000), balance(FIRM, Account.GOODS, 7),
        balance(FIRM, Account.CAPITAL, 3, CAPITAL),        balance(PERSON, Account.SHARES, 100_000, FIRM),
    ]  # fmt: skip
    ledger.apply({e.OpeningBalance.name: np.array(rows, np.int64)})
    return ledger


def test_overdrawn_account_names_agent_amount_and_record() -> None:
    ledger = opened()
    ledger.apply(transfer(FIRM, PERSON, 100))
    with pytest.raises(AccountingError, match=r"agent 3 has -1 of cash.* -1 by MoneyTransferred \[1, 5, 3, 2, 4"):
        ledger.apply(transfer(FIRM, PERSON, 1))


def test_government_and_central_bank_may_owe_money() -> None:
    ledger = opened()
    ledger.apply(transfer(0, PERSON, 80, kind=TransferKind.BENEFIT))
    assert ledger.cash[:2].tolist() == [-30, -1_150]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (trade(PERSON, FIRM, 8), r"agent 3 has -1 of goods"),
        (trade(PERSON, FIRM, 1, use=Use.NONE), "1 of 1 TradeExecuted records fall under no posting rule"),
        (trade(PERSON, FIRM, 1, kind=InstrumentClass.CURRENCY, use=Use.NONE), "no posting rule"),
        (trade(FIRM, FIRM, 1, kind=InstrumentClass.EQUITY, use=Use.NONE), "item 0, which has no such account"),
        (transfer(FIRM, 5, 1), "agent 5, whom nobody founded"),
        (transfer(1, PERSON, 2**62), "more than an int64"),
        ({e.CapitalDepreciated.name: np.array([[1, 5, FIRM, 2, CAPITAL, 4]])}, "agent 3 has -1 of capital"),
        ({e.CapitalDepreciated.name: np.array([[1, 5, FIRM, 2, 0, 1]])}, "capital of item 0, which has no such"),
        ({e.SharesCancelled.name: np.array([[1, 5, FIRM, 2, PERSON, 1]])}, "agent 3 has 99999 shares in circulation"),
        ({e.OpeningBalance.name: np.array([balance(PERSON, Account.CASH, 1)])}, "the cash of all agents sum to 1"),
        ({e.OpeningBalance.name: np.array([balance(0, Account.BONDS, 1)])}, "the bonds of all agents sum to 1"),
    ],
)
def test_broken_law_is_refused(events: Events, message: str) -> None:
    with pytest.raises(AccountingError, match=message):
        opened().apply(events)


def test_restored_ledger_goes_on_alike() -> None:
    one, other = opened(), Ledger(5, 2, np.array([FIRM]), CAPITAL, item_table(INSTRUMENTS))
    other.load(one.dump())
    for ledger in (one, other):
        ledger.apply(trade(PERSON, FIRM, 5) | transfer(FIRM, PERSON, 50, 20))
    assert (one.balances(1, 0) == other.balances(1, 0)).all()
    assert one.cash.tolist() == [70, -1_150, 0, 550, 530]
    assert one.goods[FIRM].tolist() == [2, 0]


def test_matrix_that_does_not_close_names_row_and_figures() -> None:
    with pytest.raises(AccountingError, match="row 'wage' of the flows sums to 1"):
        Matrix("flows", ("a", "b"), {"wage": (3, -2)}).check()
    with pytest.raises(AccountingError, match="column 'a' of the flows sums to 3"):
        Matrix("flows", ("a", "b"), {"wage": (3, -3)}).check()


def test_matrix_speaks_decimal_strings_and_money() -> None:
    matrix = Matrix("flows", ("a", "b"), {"wage": (2**60, -(2**60)), "tax": (-(2**60), 2**60)})
    told = matrix.to_json()
    assert told["rows"][0] == {"row": "wage", "a": "11529215046.06846976", "b": "-11529215046.06846976"}
    assert told["rows_raw"][0] == {"row": "wage", "a": "1152921504606846976", "b": "-1152921504606846976"}
    assert "11,529,215,046.06  -11,529,215,046.06    ." in matrix.render()


def test_accounts_that_differ_by_approach_give_the_figures() -> None:
    """The government sells a good: its receipts are no corporation's surplus, so the income approach misses them."""
    scenario = load_scenario("village", {"calendar.rounds": "2"})
    roles = np.array([Role.GOVERNMENT, Role.CENTRAL_BANK, Role.STATISTICS_OFFICE, Role.CORPORATION, Role.HOUSEHOLD])
    listed = [Instrument(j, p.name, InstrumentClass.GOOD, item=j) for j, p in enumerate(scenario.products)]
    projection = WindowProjection(1, scenario, roles, listed)
    rows = [balance(1, Account.CASH, -900), balance(PERSON, Account.CASH, 900), balance(0, Account.GOODS, 9)]
    projection.feed(-1, {e.OpeningBalance.name: np.array(rows, np.int64)})
    with pytest.raises(ProtocolError, match="epoch 1 came where 0 was due"):
        projection.feed(1, {})
    projection.feed(0, trade(PERSON, 0, 9))
    for epoch in range(1, 9):
        projection.feed(epoch, {})
    with pytest.raises(AccountingError, match="production 900, expenditure 900, income 0"):
        projection.feed(9, {})

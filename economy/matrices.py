"""Balance-sheet matrix and transaction-flow matrix in Godley-Lavoie form, exact to the last 1e-8.

Source: Godley and Lavoie, Monetary Economics (2007), ch. 2. Assets and receipts are positive, liabilities and payments
negative. Rows and columns sum to zero; the rows of real assets sum to the nation's wealth, which net worth takes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from economy.accounts import RULES
from economy.errors import AccountingError
from economy.instruments import Instrument
from economy.ledger import Ledger
from economy.measures import MONEY
from economy.numbers.decimals import RAW, exact
from economy.numbers.units import SHARES, UNIT
from economy.records.events import InstrumentClass, Role

Ints = NDArray[np.int64]


class Sector(IntEnum):
    """Columns of the balance sheet."""

    HOUSEHOLDS = 0
    FIRMS = 1
    MARKET_MAKERS = 2
    GOVERNMENT = 3
    CENTRAL_BANK = 4


class Flow(IntEnum):
    """Columns of the transaction-flow matrix: corporations have a current and a capital account."""

    HOUSEHOLDS = 0
    FIRMS_CURRENT = 1
    FIRMS_CAPITAL = 2
    MARKET_MAKERS = 3
    GOVERNMENT = 4
    CENTRAL_BANK = 5


SECTOR_OF: Final[Mapping[Role, Sector]] = {
    Role.GOVERNMENT: Sector.GOVERNMENT,
    Role.CENTRAL_BANK: Sector.CENTRAL_BANK,
    Role.STATISTICS_OFFICE: Sector.GOVERNMENT,
    Role.MARKET_MAKER: Sector.MARKET_MAKERS,
    Role.CORPORATION: Sector.FIRMS,
    Role.HOUSEHOLD: Sector.HOUSEHOLDS,
    Role.GATEWAY: Sector.HOUSEHOLDS,
}
CURRENT: Final = (Flow.HOUSEHOLDS, Flow.FIRMS_CURRENT, Flow.MARKET_MAKERS, Flow.GOVERNMENT, Flow.CENTRAL_BANK)
CAPITAL: Final = (Flow.HOUSEHOLDS, Flow.FIRMS_CAPITAL, Flow.MARKET_MAKERS, Flow.GOVERNMENT, Flow.CENTRAL_BANK)
LINES: Final = tuple(dict.fromkeys(rule.line for rule in RULES if rule.line))  # rows of money flows
REAL: Final = ("inventories", "fixed capital")


@dataclass(frozen=True)
class Matrix:
    """A table of integers in 1e-8 of the currency, row by row."""

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[int, ...]]

    def check(self, open_rows: Sequence[str] = ()) -> Matrix:
        """Itself, if every column and every row but the open ones sums to zero; else AccountingError."""
        for name, row in self.rows.items():
            total = sum(row)
            if total and name not in open_rows:
                raise AccountingError(f"row {name!r} of the {self.title} sums to {total}: {row}", "verify the run")
        for at, name in enumerate(self.columns):
            column = {key: row[at] for key, row in self.rows.items()}
            if sum(column.values()):
                raise AccountingError(
                    f"column {name!r} of the {self.title} sums to {sum(column.values())}: {column}", "verify the run"
                )
        return self

    def to_json(self) -> dict[str, Any]:
        """Exact decimals in the currency, and the integers of 1e-8 beside them: JSON's own numbers end at 2^53."""

        def rows(text: Callable[[int], str]) -> list[dict[str, str]]:
            return [
                {"row": name, **{column: text(value) for column, value in zip(self.columns, row, strict=True)}}
                for name, row in self.rows.items()
            ]

        return {
            "title": self.title, "unit": "currency", "raw_unit": MONEY, "columns": list(self.columns),
            "rows": rows(exact), f"rows{RAW}": rows(str),
        }  # fmt: skip

    def render(self) -> str:
        """A table for people in the currency with two decimals (cut, not rounded), a dot for nothing, and sums."""
        columns = (*self.columns, "sum")
        table = [(name, (*row, sum(row))) for name, row in self.rows.items()]
        table.append(("sum", tuple(map(sum, zip(*(row for _, row in table), strict=True)))))
        shown = [(name, [_money(value) for value in row]) for name, row in table]
        first = max(len(self.title), *(len(name) for name, _ in shown))
        width = [max(len(column), *(len(row[at]) for _, row in shown)) for at, column in enumerate(columns)]
        head = f"{self.title:<{first}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(columns, width, strict=True))
        body = [
            f"{name:<{first}}  " + "  ".join(f"{cell:>{w}}" for cell, w in zip(row, width, strict=True))
            for name, row in shown
        ]
        return "\n".join([head, *body])


def _money(value: int) -> str:
    if not value:
        return "."
    whole, cents = divmod(abs(value) // (UNIT // 100), 100)
    return f"{'-' if value < 0 else ''}{whole:,}.{cents:02d}"


@dataclass(frozen=True)
class Register:
    """Static data for valuing stocks: who issues what, what is listed. `sector` (agents,) holds Sector numbers."""

    sector: Ints
    listed: Ints  # (issuers,) instrument of the issuer's share, -1 = unlisted
    share_value: Ints  # (issuers,) money per price step and share
    unit_value: Ints  # (products,) money per price step and lot

    @classmethod
    def of(cls, sector: Ints, issuers: Ints, products: int, instruments: Sequence[Instrument]) -> Register:
        """From the instruments of a run; goods and services have the product's number as instrument."""
        place = {issuer: at for at, issuer in enumerate(issuers.tolist())}
        listed, share_value = np.full(len(issuers), -1, np.int64), np.zeros(len(issuers), np.int64)
        unit_value = np.zeros(products, np.int64)
        for instrument in instruments:
            if instrument.instrument_class == InstrumentClass.EQUITY:
                listed[place[instrument.item]] = instrument.instrument
                share_value[place[instrument.item]] = instrument.multiplier
            elif instrument.instrument < products:
                unit_value[instrument.instrument] = instrument.multiplier
        return cls(sector, listed, share_value, unit_value)

    def issuer_values(self, ledger: Ledger, prices: Ints) -> Ints:
        """Value of all shares of each issuer: at the market where listed, else its book value; `prices` by instrument.

        Worthless where no share is in circulation: nobody holds a claim on it.
        """
        price = prices[: len(self.unit_value)] * self.unit_value
        book = ledger.cash + ledger.goods @ price + ledger.capital * price[ledger.capital_good]
        market = prices[np.maximum(self.listed, 0)] * self.share_value * SHARES
        value = np.where(self.listed >= 0, market, book[ledger.issuers])
        value[ledger.shares.sum(0) == 0] = 0
        return value

    def share_values(self, ledger: Ledger, prices: Ints) -> Ints:
        """Value of each holding (agents, issuers), floored; the product is split, as it may pass an int64."""
        whole, rest = np.divmod(self.issuer_values(ledger, prices), SHARES)
        return ledger.shares * whole + ledger.shares * rest // SHARES


def _by_sector(sector: Ints, values: Ints) -> list[int]:
    return [int(values[sector == column].sum()) for column in Sector]


def balance_sheet(ledger: Ledger, register: Register, prices: Ints) -> Matrix:
    """Stocks at a cut at the prices fixed by then. What an issuer's value leaves over goes to its largest holder."""
    price = prices[: len(register.unit_value)] * register.unit_value
    value = register.issuer_values(ledger, prices)
    held = register.share_values(ledger, prices)
    held[ledger.shares.argmax(0), np.arange(len(value))] += value - held.sum(0)
    equity = held.sum(1)
    equity[ledger.issuers] -= value
    stocks = {
        "deposits": ledger.cash,
        "bonds": ledger.bonds,
        "inventories": ledger.goods @ price,
        "fixed capital": ledger.capital * price[ledger.capital_good],
        "equity": equity,
    }
    rows = {name: tuple(_by_sector(register.sector, stock)) for name, stock in stocks.items()}
    rows["net worth"] = tuple(-sum(column) for column in zip(*rows.values(), strict=True))
    matrix = Matrix("balance sheet", tuple(_names(Sector)), rows)
    wealth = sum(sum(rows[name]) for name in REAL)
    if sum(rows["net worth"]) != -wealth:
        raise AccountingError(
            f"net worth sums to {-sum(rows['net worth'])}, but real assets to {wealth}", "verify the run"
        )
    return matrix.check(open_rows=(*REAL, "net worth"))


def transaction_flows(cells: Mapping[str, Sequence[int]], inventory_change: int, deposits: Sequence[int]) -> Matrix:
    """Flows of a window. `cells` holds money received less paid by line and Flow, `deposits` the change by Sector."""
    rows = {line: tuple(map(int, cells[line])) for line in LINES}
    rows["change in inventories"] = _row({Flow.FIRMS_CURRENT: inventory_change, Flow.FIRMS_CAPITAL: -inventory_change})
    kept = sum(row[Flow.FIRMS_CURRENT] for row in rows.values())
    rows["retained profits"] = _row({Flow.FIRMS_CURRENT: -kept, Flow.FIRMS_CAPITAL: kept})
    rows["change in deposits"] = _row({CAPITAL[sector]: -int(deposits[sector]) for sector in Sector})
    return Matrix("transaction flows", tuple(_names(Flow)), rows).check()


def _row(values: Mapping[Flow, int]) -> tuple[int, ...]:
    return tuple(values.get(column, 0) for column in Flow)


def _names(columns: type[Sector] | type[Flow]) -> list[str]:
    return [column.name.lower().replace("_", " ") for column in columns]

"""A made-up economy of random bookings; its national accounts in dicts and ints, straight from their definitions."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np

from economy.instruments import Instrument
from economy.records.events import (
    Account,
    ContractKind,
    EndReason,
    Events,
    InstrumentClass,
    Parameter,
    Role,
    TransferKind,
    Use,
)
from economy.scenario import Scenario, load_scenario
from schemas.catalogue import EVENTS

Record = tuple[str, dict[str, int]]
RUN, GOV, BANK, OFFICE, MAKER = 7, 0, 1, 2, 3
FIRMS, PEOPLE = (4, 5, 6), (7, 8, 9, 10, 11)
ISSUERS, LISTED = (MAKER, *FIRMS), 5
ROLES = [Role.GOVERNMENT, Role.CENTRAL_BANK, Role.STATISTICS_OFFICE, Role.MARKET_MAKER]
ROLES += [Role.CORPORATION] * len(FIRMS) + [Role.HOUSEHOLD] * len(PEOPLE)
WINDOWS, ROUNDS, EPOCH = 2, 2, 20
SCENARIO: Scenario = load_scenario("village", {"calendar.rounds": str(ROUNDS), "years": "1"})
PRODUCTS = range(len(SCENARIO.products))
GOODS = [j for j in PRODUCTS if SCENARIO.products[j].kind == "good"]
EQUITY = len(PRODUCTS)
INSTRUMENTS = [
    Instrument(
        j,
        SCENARIO.products[j].name,
        InstrumentClass.GOOD if j in GOODS else InstrumentClass.SERVICE,
        item=j,
        reference_price=10_000,
    )
    for j in PRODUCTS
] + [Instrument(EQUITY, "share", InstrumentClass.EQUITY, item=LISTED, quantity_scale=0, reference_price=31)]


def rows_of(records: list[Record]) -> Events:
    """Records as integer rows by name."""
    out: dict[str, list[list[int]]] = defaultdict(list)
    for name, record in records:
        out[name].append([record.get(f.name, 0) for f in EVENTS[name].fields])
    return {name: np.array(rows, np.int64) for name, rows in out.items()}


class Made:
    """Random records of a run, epoch by epoch; `epochs[0]` is the opening."""

    def __init__(self, seed: int, per_epoch: int) -> None:
        self.random = random.Random(seed)
        self.n = 0
        self.held: dict[tuple[int, int], int] = {}
        self.epochs = [self._opening()]
        for epoch in range(WINDOWS * ROUNDS * 5):
            records = [r for _ in range(self.random.randint(0, per_epoch)) for r in self._event(epoch)]
            if epoch % 5 == 4:
                for i in range(EQUITY + 1):
                    if self.random.random() < 0.8:
                        price = self.random.randint(1, 30_000)
                        records.append(
                            ("PriceFixed", self._base(epoch, tick=epoch * EPOCH + 19, instrument=i, price=price))
                        )
            self.epochs.append(records)

    def _base(self, epoch: int, **fields: int) -> dict[str, int]:
        self.n += 1
        return {"run": RUN, "tick": epoch * EPOCH + self.random.randrange(EPOCH), "n": self.n, "seq": self.n, **fields}

    def _opening(self) -> list[Record]:
        out: list[Record] = []

        def put(agent: int, account: Account, item: int, quantity: int) -> None:
            out.append(
                ("OpeningBalance", self._base(-1, tick=-1, agent=agent, account=account, item=item, quantity=quantity))
            )

        rich = [self.random.randint(10**14, 10**15) for _ in ROLES]
        for agent, amount in enumerate(rich):
            put(agent, Account.CASH, 0, amount if agent != BANK else rich[BANK] - sum(rich))
        for firm in FIRMS:
            put(firm, Account.CAPITAL, SCENARIO.capital_good, 10**6)
            for j in GOODS:
                put(firm, Account.GOODS, j, self.random.randint(10**6, 10**7))
        for issuer in ISSUERS:
            first = self.random.randint(1, 99_999)
            for holder, quantity in zip(self.random.sample((*PEOPLE, MAKER), 2), (first, 100_000 - first), strict=True):
                put(holder, Account.SHARES, issuer, quantity)
                self.held[holder, issuer] = quantity
        put(GOV, Account.BONDS, 0, -(10**12))
        put(BANK, Account.BONDS, 0, 10**12)
        for person in PEOPLE[1:]:
            employer = self.random.choice((*FIRMS, -1))
            out.append(
                (
                    "OpeningParameter",
                    self._base(-1, tick=-1, agent=person, parameter=Parameter.EMPLOYER, value=employer * 10**9),
                )
            )
        return out

    def _event(self, epoch: int) -> list[Record]:
        r = self.random
        firm, person, good, lots = r.choice(FIRMS), r.choice(PEOPLE), r.choice(GOODS), r.randint(1, 50)
        kind = r.choice(("trade", "trade", "trade", "transfer", "transfer", "stock", "contract", "share", "reissue"))
        if kind == "trade":
            return [self._trade(epoch, lots)]
        if kind == "transfer":
            return [self._transfer(epoch)]
        if kind == "stock":
            name = r.choice(("GoodsProduced", "GoodsConsumed", "CapitalDepreciated"))
            product = SCENARIO.capital_good if name == "CapitalDepreciated" else good
            return [(name, self._base(epoch, agent=firm, product=product, quantity=lots))]
        if kind == "contract":
            if r.random() < 0.1:
                return [("AgentBankrupt", self._base(epoch, agent=firm))]
            name = r.choice(("ContractSigned", "ContractEnded"))
            base = self._base(epoch, agent=firm, worker=person, kind=ContractKind.EMPLOYMENT, reason=EndReason.QUIT)
            return [(name, base)]
        if kind == "share":
            sellers = [h for (h, i), q in self.held.items() if i == LISTED and q]
            if not sellers:
                return []
            seller = r.choice(sellers)
            buyer = r.choice([h for h in (*PEOPLE, MAKER) if h != seller])
            quantity = r.randint(1, self.held[seller, LISTED])
            self.held[seller, LISTED] -= quantity
            self.held[buyer, LISTED] = self.held.get((buyer, LISTED), 0) + quantity
            price = r.randint(1, 99)
            return [
                self._deal(
                    epoch,
                    EQUITY,
                    InstrumentClass.EQUITY,
                    Use.NONE,
                    buyer,
                    seller,
                    price,
                    quantity,
                    10_000,
                    r.randint(0, 9),
                )
            ]
        issuer, out = r.choice(ISSUERS), []
        for (holder, of), quantity in list(self.held.items()):
            if of == issuer and quantity:
                out.append(("SharesCancelled", self._base(epoch, agent=issuer, holder=holder, quantity=quantity)))
                self.held[holder, of] = 0
        if r.random() < 0.8:
            self.held[person, issuer] = 100_000
            out.append(("SharesIssued", self._base(epoch, agent=issuer, holder=person, quantity=100_000)))
        else:  # not again before the next time that it is drawn
            self.held = {key: q for key, q in self.held.items() if key[1] != issuer}
        return out

    def _trade(self, epoch: int, lots: int) -> Record:
        r = self.random
        use, product, seller = r.choice(list(Use)[1:]), r.choice(PRODUCTS), r.choice(FIRMS)
        buyer, tax, price = GOV, 0, r.randint(1, 30_000)
        if use == Use.CONSUMPTION:
            buyer, tax = r.choice(PEOPLE), r.randint(0, 10**6)
        elif use != Use.GOVERNMENT:
            buyer = r.choice([f for f in FIRMS if f != seller])
        if use == Use.INVESTMENT:
            product = SCENARIO.capital_good
        kind = InstrumentClass.GOOD if product in GOODS else InstrumentClass.SERVICE
        return self._deal(epoch, product, kind, use, buyer, seller, price, lots, 100, tax)

    def _deal(
        self, epoch: int, instrument: int, kind: InstrumentClass, use: Use, buyer: int, seller: int, price: int,
        lots: int, unit: int, tax: int,
    ) -> Record:  # fmt: skip
        taker_buys = self.random.random() < 0.5
        maker, taker = (seller, buyer) if taker_buys else (buyer, seller)
        return "TradeExecuted", self._base(
            epoch, instrument=instrument, price=price, quantity=lots, maker_agent=maker, taker_agent=taker,
            taker_side=0 if taker_buys else 1, use=use, instrument_class=kind, notional=price * lots * unit, tax=tax,
        )  # fmt: skip

    def _transfer(self, epoch: int) -> Record:
        r = self.random
        firm, person = r.choice(FIRMS), r.choice(PEOPLE)
        kind = r.choice(list(TransferKind))
        anybody = r.choice((OFFICE, MAKER, *FIRMS, *PEOPLE))
        payer, payee = {
            TransferKind.WAGE: (firm, person),
            TransferKind.BENEFIT: (GOV, person),
            TransferKind.INCOME_TAX: (person, GOV),
            TransferKind.PROFIT_TAX: (firm, GOV),
            TransferKind.DIVIDEND: (r.choice(ISSUERS), r.choice((person, MAKER))),
            TransferKind.DEPOSIT_INTEREST: (BANK, anybody),
            TransferKind.BOND_INTEREST: (GOV, BANK),
            TransferKind.CENTRAL_BANK_PROFIT: (BANK, GOV),
            TransferKind.BOND_ISSUE: (BANK, GOV),
            TransferKind.BOND_REDEMPTION: (GOV, BANK),
            TransferKind.FOUNDING: (person, firm),
            TransferKind.ESTATE: (firm, person),
            TransferKind.TRANSFER: (anybody, r.choice(PEOPLE)),
        }[kind]
        amount = r.randint(1, 10**9)
        withheld = r.randint(0, amount // 2) if kind in (TransferKind.WAGE, TransferKind.DIVIDEND) else 0
        base = self._base(epoch, agent=payer, payee=payee, kind=kind, amount=amount, withheld=withheld)
        return "MoneyTransferred", base


def naive_gini(values: list[int]) -> int:
    """Half of the mean difference over the mean."""
    total = sum(values)
    if total <= 0:
        return 0
    return Fraction(10**9 * sum(abs(a - b) for a in values for b in values), 2 * len(values) * total).__floor__()


def naive_lorenz(values: list[int]) -> list[int]:
    total, ordered = sum(values), sorted(values)
    return [10**9 * sum(ordered[: len(ordered) * k // 20]) // total if total > 0 else 0 for k in range(1, 21)]


class Naive:
    """Balances and measures from the definitions, one record at a time."""

    def __init__(self, epochs: list[list[Record]]) -> None:
        self.balance: dict[tuple[int, int, int], int] = defaultdict(int)  # (account, agent, item)
        self.price = {i.instrument: i.reference_price for i in INSTRUMENTS}
        self.works = dict.fromkeys(PEOPLE, False)
        self.windows: list[dict[tuple[str, int], int]] = []
        self.stocks: list[dict[tuple[int, int, int], int]] = []
        for record in epochs[0]:
            self._book(*record)
        self._begin()
        self._round = self._goods()
        for number, records in enumerate(epochs[1:]):
            for record in sorted(records, key=lambda r: r[0] == "ContractSigned"):
                self._book(*record)
            if number % 5 == 4:
                self._end_round(records)
            if number % (5 * ROUNDS) == 5 * ROUNDS - 1:
                self.windows.append(self._end_window())
                self.stocks.append({key: q for key, q in self.balance.items() if q or key[0] == Account.CASH})
                self._begin()

    def _begin(self) -> None:
        self.sum: dict[Any, int] = defaultdict(int)
        self.cash_before = self._firm_cash()
        self.goods_before = sum(self._goods().values())

    def _goods(self) -> dict[int, int]:
        return {j: sum(q for (a, _, i), q in self.balance.items() if a == Account.GOODS and i == j) for j in PRODUCTS}

    def _firm_cash(self) -> int:
        return sum(self.balance[Account.CASH, firm, 0] for firm in FIRMS)

    def _cash(self, agent: int, amount: int, operating: bool = False) -> None:
        self.balance[Account.CASH, agent, 0] += amount
        if agent in FIRMS and not operating:
            self.sum["not operating"] += amount

    def _book(self, name: str, r: dict[str, int]) -> None:
        s, p = self.sum if hasattr(self, "sum") else defaultdict(int), self.price
        if name == "OpeningBalance":
            self.balance[r["account"], r["agent"], r["item"]] += r["quantity"]
        elif name == "OpeningParameter":
            self.works[r["agent"]] = r["value"] >= 0
        elif name == "TradeExecuted":
            self._trade(r, s)
        elif name == "MoneyTransferred":
            kind, net = r["kind"], r["amount"] - r["withheld"]
            self._cash(r["agent"], -r["amount"], kind == TransferKind.WAGE)
            self._cash(r["payee"], net)
            self._cash(GOV, r["withheld"])
            if kind in (TransferKind.BOND_ISSUE, TransferKind.BOND_REDEMPTION):
                self.balance[Account.BONDS, r["agent"], 0] += r["amount"]
                self.balance[Account.BONDS, r["payee"], 0] -= r["amount"]
            if kind == TransferKind.WAGE:
                s["wages"] += r["amount"]
            if kind in (
                TransferKind.WAGE, TransferKind.BENEFIT, TransferKind.DIVIDEND, TransferKind.DEPOSIT_INTEREST,
            ):  # fmt: skip
                s["income", r["payee"]] += net
        elif name in ("GoodsProduced", "GoodsConsumed"):
            made = name == "GoodsProduced"
            self.balance[Account.GOODS, r["agent"], r["product"]] += r["quantity"] if made else -r["quantity"]
            s["output" if made else "intermediate_consumption"] += r["quantity"] * p[r["product"]] * 100
        elif name == "CapitalDepreciated":
            self.balance[Account.CAPITAL, r["agent"], r["product"]] -= r["quantity"]
        elif name in ("SharesIssued", "SharesCancelled"):
            sign = 1 if name == "SharesIssued" else -1
            self.balance[Account.SHARES, r["holder"], r["agent"]] += sign * r["quantity"]
        elif name in ("ContractSigned", "ContractEnded"):
            self.works[r["worker"]] = name == "ContractSigned"
        elif name == "AgentBankrupt":
            s["bankruptcies"] += 1

    def _trade(self, r: dict[str, int], s: dict[Any, int]) -> None:
        buyer, seller = r["maker_agent"], r["taker_agent"]
        if r["taker_side"] == 0:
            buyer, seller = seller, buyer
        i, lots, money, use = r["instrument"], r["quantity"], r["notional"], r["use"]
        s["trades"] += 1
        s["value", i] += money
        s["quantity", i] += lots
        share = r["instrument_class"] == InstrumentClass.EQUITY
        self._cash(seller, money, not share)
        self._cash(buyer, -money - r["tax"], not share and use == Use.INTERMEDIATE)
        self._cash(GOV, r["tax"])
        if share:
            self.balance[Account.SHARES, seller, LISTED] -= lots
            self.balance[Account.SHARES, buyer, LISTED] += lots
            return
        stocked, worth = r["instrument_class"] == InstrumentClass.GOOD, lots * self.price[i] * 100
        s["output"] += money - (worth if stocked else 0)
        s["taxes_on_products"] += r["tax"]
        s["bought", use, i] += lots
        if stocked:
            self.balance[Account.GOODS, seller, i] -= lots
        if use == Use.INTERMEDIATE:
            s["intermediate_consumption"] += money - (worth if stocked else 0)
            if stocked:
                self.balance[Account.GOODS, buyer, i] += lots
        elif use == Use.CONSUMPTION:
            s["consumption"] += money + r["tax"]
            s["spent", i] += money
        elif use == Use.INVESTMENT:
            s["investment"] += money
            self.balance[Account.CAPITAL, buyer, i] += lots
        else:
            s["government"] += money

    def _end_round(self, records: list[Record]) -> None:
        goods = self._goods()
        self.sum["inventory_change"] += sum((goods[j] - self._round[j]) * self.price[j] * 100 for j in PRODUCTS)
        self._round = goods
        self.sum["jobless"] += sum(not works for works in self.works.values())
        for name, r in records:
            if name == "PriceFixed":
                self.price[r["instrument"]] = r["price"]

    def value(self, issuer: int) -> int:
        """Of all shares of an issuer."""
        if issuer == LISTED:
            return self.price[EQUITY] * 10_000 * 100_000
        real = sum(
            q * self.price[i] * 100
            for (account, agent, i), q in self.balance.items()
            if agent == issuer and account in (Account.GOODS, Account.CAPITAL)
        )
        return self.balance[Account.CASH, issuer, 0] + real

    def _end_window(self) -> dict[tuple[str, int], int]:
        s, b = self.sum, self.balance
        out = {
            (name, 0): s[name]
            for name in (
                "output", "intermediate_consumption", "taxes_on_products", "consumption", "government", "investment",
                "inventory_change", "wages", "bankruptcies", "trades",
            )
        }  # fmt: skip
        surplus = self._firm_cash() - self.cash_before - s["not operating"] + s["inventory_change"]
        out["gross_operating_surplus", 0] = surplus
        out["gdp_production", 0] = s["output"] - s["intermediate_consumption"] + s["taxes_on_products"]
        out["gdp_expenditure", 0] = s["consumption"] + s["government"] + s["investment"] + s["inventory_change"]
        out["gdp_income", 0] = s["wages"] + s["taxes_on_products"] + surplus
        vat = round(SCENARIO.targets.vat * 10_000)
        lots = {use: sum(s["bought", use, j] for j in PRODUCTS) for use in Use}
        stock = sum(self._goods().values()) - self.goods_before
        plain = (lots[Use.GOVERNMENT] + lots[Use.INVESTMENT] + stock) * 10_000 * 100
        out["gdp_real", 0] = lots[Use.CONSUMPTION] * 100 * (10_000 + vat) + plain
        income = [s["income", person] for person in PEOPLE]
        wealth = [
            b[Account.CASH, person, 0]
            + sum(b[Account.SHARES, person, issuer] * self.value(issuer) // 100_000 for issuer in ISSUERS)
            for person in PEOPLE
        ]
        out["gini_income", 0], out["gini_wealth", 0] = naive_gini(income), naive_gini(wealth)
        out |= {("lorenz_income", k): v for k, v in enumerate(naive_lorenz(income), 1)}
        out |= {("lorenz_wealth", k): v for k, v in enumerate(naive_lorenz(wealth), 1)}
        out["unemployment", 0] = 10**9 * s["jobless"] // (len(PEOPLE) * ROUNDS)
        out["government_debt", 0] = -b[Account.BONDS, GOV, 0]
        index = 0
        for j in PRODUCTS:
            share, bought = round(SCENARIO.products[j].consumption * 10**9), s["bought", Use.CONSUMPTION, j]
            mean = Fraction(s["spent", j], bought * 100 * 10_000) if bought else Fraction(self.price[j], 10_000)
            index += (share * mean).__floor__()
        out["consumer_price_index", 0] = index
        for i in range(EQUITY + 1):
            out["traded_value", i], out["traded_quantity", i] = s["value", i], s["quantity", i]
            out["closing_price", i] = self.price[i]
        return out

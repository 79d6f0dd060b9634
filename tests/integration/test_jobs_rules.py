"""Spark jobs over invented events, against the definitions written out again in plain Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from economy.events import InstrumentClass
from economy.instruments import Instrument
from economy.measures import gini as gini_of
from economy.measures import lorenz
from economy.scenario import load_scenario
from infra.java import java_home
from infra.settings import load_settings
from jobs.config import JobConfig
from jobs.gdp import gdp
from jobs.gini import gini
from jobs.postings import Booked, floored
from jobs.session import spark_session

pytestmark = [
    pytest.mark.integration,
    # pyspark leaves the sockets over which it fetches results to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Row = dict[str, Any]
GOOD, SERVICE, WINDOWS, ROUND, WINDOW = 0, 1, 2, 100, 1000
MAKER, FIRMS, PEOPLE = 3, (4, 5), tuple(range(6, 19))
LISTED = 4  # trades as instrument 2, the other firm is valued by its books
INSTRUMENTS = (
    Instrument(GOOD, "G", InstrumentClass.GOOD, GOOD, fixing_ticks=ROUND, reference_price=9_000),
    Instrument(SERVICE, "S", InstrumentClass.SERVICE, SERVICE, fixing_ticks=ROUND, reference_price=11_000),
    Instrument(2, "E", InstrumentClass.EQUITY, LISTED, quantity_scale=0, fixing_ticks=ROUND, reference_price=70_000),
)
INCOME = ("wage", "benefit", "dividend", "deposit_interest")
OTHER = ("income_tax", "profit_tax", "bond_interest", "bond_issue", "bond_redemption", "founding", "estate", "transfer")
TYPES = {"agent": "bigint", "role": "string", "taker_side": "string", "use": "string", "instrument_class": "string",
         "kind": "string", "account": "string"}  # fmt: skip


class Invented:
    """Events of two quarters; amounts are random, also so large that int64 cannot hold their sums."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.rows: dict[str, list[Row]] = defaultdict(list)
        agents = (0, 1, 2, MAKER, *FIRMS, *PEOPLE)
        roles = ["government", "central_bank", "statistics_office", "market_maker"]
        roles += ["corporation"] * len(FIRMS) + ["household"] * len(PEOPLE)
        self.rows["AgentFounded"] = [{"agent": a, "role": r} for a, r in zip(agents, roles, strict=True)]

        def pick(of: Sequence[Any]) -> Any:
            return of[int(rng.integers(len(of)))]

        def opening(agent: int, account: str, item: int, quantity: int) -> None:
            row = {"tick": -1, "agent": agent, "account": account, "item": item, "quantity": quantity}
            self.rows["OpeningBalance"].append(row)

        for agent in agents:
            opening(agent, "cash", 0, int(rng.integers(-(10**12), 8 * 10**18)))
        for firm in FIRMS:
            opening(firm, "goods", GOOD, int(rng.integers(5_000)))
            opening(firm, "capital", GOOD, int(rng.integers(9_000)))
            for person in PEOPLE:
                opening(person, "shares", firm, int(rng.integers(1, 9_000)))
        opening(0, "bonds", 0, -77)
        opening(1, "bonds", 0, 77)
        for _ in range(600):
            tick = int(rng.integers(WINDOWS * WINDOW))
            kind, use = pick(("good", "service", "equity")), pick(("intermediate", "consumption", "investment"))
            use = pick((use, "government"))
            quantity, price = int(rng.integers(1, 300)), int(rng.integers(5_000, 90_000))
            maker, taker = pick(agents), pick(agents)
            instrument = ("good", "service", "equity").index(kind)
            multiplier = INSTRUMENTS[instrument].multiplier
            self.rows["TradeExecuted"].append(
                {"instrument": instrument, "tick": tick, "quantity": quantity, "maker_agent": maker,
                 "taker_agent": taker, "taker_side": pick(("buy", "sell")), "use": use, "instrument_class": kind,
                 "notional": price * quantity * multiplier, "tax": int(rng.integers(10**9))}
            )  # fmt: skip
        for _ in range(300):
            amount = int(rng.integers(1, 5 * 10**17))
            self.rows["MoneyTransferred"].append(
                {"tick": int(rng.integers(WINDOWS * WINDOW)), "agent": pick(agents), "payee": pick(agents),
                 "kind": pick((*INCOME, *OTHER)), "amount": amount, "withheld": amount // 7}
            )  # fmt: skip
        for name, products in (("GoodsProduced", 1), ("GoodsConsumed", 1), ("CapitalDepreciated", 1)):
            for _ in range(60):
                row = {"tick": int(rng.integers(WINDOWS * WINDOW)), "agent": pick(FIRMS), "product": products - 1}
                self.rows[name].append({**row, "quantity": int(rng.integers(1, 400))})
        for name in ("SharesIssued", "SharesCancelled"):
            for _ in range(8):
                row = {"tick": int(rng.integers(WINDOWS * WINDOW)), "agent": pick(FIRMS), "holder": pick(PEOPLE)}
                self.rows[name].append({**row, "quantity": int(rng.integers(1, 50))})
        for number in range(WINDOWS * WINDOW // ROUND):
            for i in INSTRUMENTS:
                row = {"instrument": i.instrument, "tick": number * ROUND + ROUND - 1}
                self.rows["PriceFixed"].append({**row, "price": int(rng.integers(6_000, 80_000))})

    def price(self, instrument: int, number: int) -> int:
        """Valuation price in a round: fixed in the last tick of the one before."""
        fixed = {(r["instrument"], r["tick"]): int(r["price"]) for r in self.rows["PriceFixed"]}
        return fixed.get((instrument, number * ROUND - 1), INSTRUMENTS[instrument].reference_price)


class Frames:
    """The invented events as a job's source."""

    def __init__(self, spark: Any, invented: Invented) -> None:
        self.spark, self.invented = spark, invented

    def frame(self, event: str, columns: Sequence[str]) -> Any:
        """Records of one kind with the named columns."""
        schema = ", ".join(f"{name} {TYPES.get(name, 'bigint')}" for name in columns)
        rows = [tuple(row[name] for name in columns) for row in self.invented.rows[event]]
        return self.spark.createDataFrame(rows, schema)


def _sides(t: Row) -> tuple[int, int]:
    sides = (t["maker_agent"], t["taker_agent"])
    return sides[::-1] if t["taker_side"] == "buy" else sides  # (buyer, seller)


def _gdp(x: Invented, vat: int) -> dict[tuple[int, str, int], int]:
    """The definitions, event by event."""
    out: Counter[tuple[int, str]] = Counter()
    real: Counter[int] = Counter()

    def valued(lots: int, tick: int) -> int:
        return lots * x.price(GOOD, tick // ROUND) * 100

    def stock(lots: int, tick: int) -> None:
        w = tick // WINDOW
        out[w, "inventory_change"] += valued(lots, tick)
        out[w, "gross_operating_surplus"] += valued(lots, tick)
        real[w] += lots * 10_000

    for t in x.rows["TradeExecuted"]:
        w, tick, q, money, tax, use = t["tick"] // WINDOW, t["tick"], t["quantity"], t["notional"], t["tax"], t["use"]
        if t["instrument_class"] == "equity":
            continue
        buyer, seller = _sides(t)
        good = t["instrument_class"] == "good"
        out[w, "output"] += money - (valued(q, tick) if good else 0)
        out[w, "taxes_on_products"] += tax
        if seller in FIRMS:
            out[w, "gross_operating_surplus"] += money
        if good:
            stock(-q, tick)
        if use == "intermediate":
            out[w, "intermediate_consumption"] += money - (valued(q, tick) if good else 0)
            if good:
                stock(q, tick)
            if buyer in FIRMS:
                out[w, "gross_operating_surplus"] -= money + tax
        else:
            out[w, use] += money + (tax if use == "consumption" else 0)
            real[w] += q * (10_000 + vat if use == "consumption" else 10_000)
    for m in x.rows["MoneyTransferred"]:
        if m["kind"] == "wage":
            w = m["tick"] // WINDOW
            out[w, "wages"] += m["amount"]
            out[w, "gross_operating_surplus"] -= m["amount"] * (m["agent"] in FIRMS)
    for p in x.rows["GoodsProduced"]:
        out[p["tick"] // WINDOW, "output"] += valued(p["quantity"], p["tick"])
        stock(p["quantity"], p["tick"])
    for p in x.rows["GoodsConsumed"]:
        out[p["tick"] // WINDOW, "intermediate_consumption"] += valued(p["quantity"], p["tick"])
        stock(-p["quantity"], p["tick"])
    for w in range(WINDOWS):
        o = {name: out[w, name] for _, name in list(out)}
        out[w, "gdp_production"] = o["output"] - o["intermediate_consumption"] + o["taxes_on_products"]
        out[w, "gdp_expenditure"] = o["consumption"] + o["government"] + o["investment"] + o["inventory_change"]
        out[w, "gdp_income"] = o["wages"] + o["taxes_on_products"] + o["gross_operating_surplus"]
        out[w, "gdp_real"] = real[w] * 10_000 * 100 // 10_000
    return {(w, name, 0): value for (w, name), value in out.items()}


def _balances(x: Invented, before: int) -> Counter[tuple[str, int, int]]:
    """(account, agent, item) -> balance before a tick."""
    b: Counter[tuple[str, int, int]] = Counter()
    for name, rows in x.rows.items():
        for r in (r for r in rows if r.get("tick", before) < before):
            if name == "OpeningBalance":
                b[r["account"], r["agent"], r["item"]] += r["quantity"]
            elif name == "TradeExecuted":
                buyer, seller = _sides(r)
                b["cash", seller, 0] += r["notional"]
                b["cash", buyer, 0] -= r["notional"] + r["tax"]
                b["cash", 0, 0] += r["tax"]
                if r["instrument_class"] == "equity":
                    b["shares", seller, LISTED] -= r["quantity"]
                    b["shares", buyer, LISTED] += r["quantity"]
                    continue
                if r["instrument_class"] == "good":
                    b["goods", seller, GOOD] -= r["quantity"]
                    b["goods", buyer, GOOD] += r["quantity"] * (r["use"] == "intermediate")
                b["capital", buyer, r["instrument"]] += r["quantity"] * (r["use"] == "investment")
            elif name == "MoneyTransferred":
                b["cash", r["agent"], 0] -= r["amount"]
                b["cash", r["payee"], 0] += r["amount"] - r["withheld"]
                b["cash", 0, 0] += r["withheld"]
            elif name in ("GoodsProduced", "GoodsConsumed"):
                b["goods", r["agent"], r["product"]] += r["quantity"] * (1 if name == "GoodsProduced" else -1)
            elif name == "CapitalDepreciated":
                b["capital", r["agent"], r["product"]] -= r["quantity"]
            elif name in ("SharesIssued", "SharesCancelled"):
                b["shares", r["holder"], r["agent"]] += r["quantity"] * (1 if name == "SharesIssued" else -1)
    return b


def _gini(x: Invented) -> dict[tuple[int, str, int], int]:
    out = {}
    for w in range(WINDOWS):
        income = dict.fromkeys(PEOPLE, 0)
        for m in x.rows["MoneyTransferred"]:
            if m["tick"] // WINDOW == w and m["kind"] in INCOME and m["payee"] in income:
                income[m["payee"]] += m["amount"] - m["withheld"]
        b = _balances(x, (w + 1) * WINDOW)
        closing = {i.instrument: x.price(i.instrument, (w + 1) * WINDOW // ROUND) for i in INSTRUMENTS}
        worth = {}
        for firm in FIRMS:
            things = sum((b["goods", firm, j] + b["capital", firm, j]) * closing[j] * 100 for j in (GOOD, SERVICE))
            worth[firm] = closing[2] * 10_000 * 100_000 if firm == LISTED else b["cash", firm, 0] + things
        wealth = [b["cash", h, 0] + sum(max(b["shares", h, f], 0) * worth[f] // 100_000 for f in FIRMS) for h in PEOPLE]
        for name, values in (("income", list(income.values())), ("wealth", wealth)):
            out[w, f"gini_{name}", 0] = gini_of(values)
            out.update({(w, f"lorenz_{name}", k): share for k, share in enumerate(lorenz(values), 1)})
    return out


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = load_settings()
    home = str(java_home(settings.java_home, settings.cache_folder))
    scratch = str(tmp_path_factory.mktemp("spark"))
    with spark_session(JobConfig("", "", java_home=home, scratch=scratch, shuffle_partitions=2), "rules") as session:
        yield session


def test_jobs_follow_their_definitions(spark: Any) -> None:
    scenario, x = load_scenario("village", {"years": "1"}), Invented()
    assert (scenario.time.window_ticks, scenario.time.round_ticks) == (WINDOW, ROUND)
    source = Frames(spark, x)
    booked = Booked(source, scenario.time, INSTRUMENTS)
    expected = {gdp: _gdp(x, round(scenario.targets.vat * 10_000)), gini: _gini(x)}
    for job, figures in expected.items():
        rows = job(source, booked, scenario, WINDOWS).collect()
        found = {(r.window, r.indicator, r.item): int(r.value) for r in rows}
        assert len(found) == len(rows)
        assert {k: (v, figures.get(k)) for k, v in found.items() if v != figures.get(k)} == {}
        assert found.keys() == figures.keys()


def test_quotients_are_floored_beyond_int64_and_below_zero(spark: Any) -> None:
    cases = [(-7, 2), (7, 2), (-8, 2), (10**37 + 1, 10**9), (-(10**30) - 1, 7), (0, 3), (2**63, 1), (-(2**64) - 1, 2)]
    rows = [(i, str(a), str(b)) for i, (a, b) in enumerate(cases)]
    text = "i int, a string, b string"
    frame = spark.createDataFrame(rows, text).selectExpr(
        "i", "cast(a as decimal(38,0)) a", "cast(b as decimal(38,0)) b"
    )
    found = {r.i: int(r.q) for r in frame.selectExpr("i", f"{floored('a', 'b')} q").collect()}
    assert found == {i: Fraction(a, b).__floor__() for i, (a, b) in enumerate(cases)}

"""Spark jobs over invented events, against the definitions written out again in plain Python."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from statistics import covariance, variance
from typing import Any

import fastavro
import numpy as np
import pytest

from economy.errors import InputError
from economy.instruments import Instrument
from economy.measures import gini as gini_of
from economy.measures import lorenz
from economy.records.events import InstrumentClass
from economy.scenario import load_scenario
from infra.jars import spark_jars
from infra.java import java_home
from infra.settings import load_settings
from jobs.activity import activity
from jobs.agent_performance import agent_performance
from jobs.config import JobConfig
from jobs.decoding import by_avro
from jobs.gdp import gdp
from jobs.gini import gini
from jobs.liquidity import liquidity
from jobs.main import figures as figures_of
from jobs.main import run_on_file
from jobs.postings import Booked, floored
from jobs.price_stability import price_stability, square_root
from jobs.reconcile import compared, disagreements
from jobs.session import spark_session
from jobs.source import Extent, RunLog
from schemas.catalogue import EVENTS, FLOWS
from schemas.codec import encode_record

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
         "kind": "string", "account": "string", "side": "string", "parameter": "string"}  # fmt: skip
EPOCH = 20
# A test's Spark lives too short to repay the optimising compiler. Without it Java keeps 48 MB for compiled code, which
# this file's plans fill. Spark ended twice just then; that it ended for lack of room is likely, not proven.
QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"


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

        self._levels(rng)
        self._contracts(rng)

    def _levels(self, rng: np.random.Generator) -> None:
        """Books of which one has no bids, with levels that change, go and come back; one for longer than the run."""
        seqs: Counter[int] = Counter()
        for epoch in range(WINDOWS * WINDOW // EPOCH):
            for instrument in (GOOD, SERVICE, 2):
                for _ in range(int(rng.integers(3))):
                    buy = instrument != GOOD and bool(rng.integers(2))
                    price = int(rng.integers(90, 100) if buy else rng.integers(100, 110))
                    quantity = int(rng.integers(1, 50) * (rng.random() < 0.7))
                    row = {
                        "instrument": instrument,
                        "tick": epoch * EPOCH + EPOCH - 1,
                        "side": "buy" if buy else "sell",
                    }
                    self.rows["BookUpdated"].append(
                        {**row, "seq": seqs[instrument], "price": price, "quantity": quantity}
                    )
                    seqs[instrument] += 1

    def _contracts(self, rng: np.random.Generator) -> None:
        for person in PEOPLE[1:]:  # of the first one the opening says nothing
            row = {"agent": person, "parameter": "employer", "value": int(rng.choice((-1, *FIRMS)))}
            self.rows["OpeningParameter"].append(row)
            self.rows["OpeningParameter"].append({**row, "parameter": "skill", "value": 5})
        for person in PEOPLE:
            for _ in range(int(rng.integers(9))):
                row = {"agent": FIRMS[0], "worker": person, "tick": int(rng.integers(WINDOWS * WINDOW))}
                self.rows["ContractSigned" if rng.random() < 0.5 else "ContractEnded"].append(row)
        # In one epoch he leaves, and joins another.
        self.rows["ContractSigned"].append({"agent": FIRMS[0], "worker": PEOPLE[0], "tick": 1 + 30 * EPOCH})
        self.rows["ContractEnded"].append({"agent": FIRMS[1], "worker": PEOPLE[0], "tick": 9 + 30 * EPOCH})
        self.rows["AgentBankrupt"] = [{"agent": FIRMS[0], "tick": WINDOW + 17}]

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
                if r["kind"] in ("bond_issue", "bond_redemption"):
                    b["bonds", r["agent"], 0] += r["amount"]
                    b["bonds", r["payee"], 0] -= r["amount"]
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


def _activity(x: Invented, shares: Sequence[float]) -> dict[tuple[int, str, int], int]:
    out: dict[tuple[int, str, int], int] = {}
    for w in range(WINDOWS):
        made = [t for t in x.rows["TradeExecuted"] if t["tick"] // WINDOW == w]
        index = 0
        for i in INSTRUMENTS:
            mine = [t for t in made if t["instrument"] == i.instrument]
            out[w, "traded_value", i.instrument] = sum(t["notional"] for t in mine)
            out[w, "traded_quantity", i.instrument] = sum(t["quantity"] for t in mine)
            close = out[w, "closing_price", i.instrument] = x.price(i.instrument, (w + 1) * WINDOW // ROUND)
            if i.instrument == 2:
                continue
            eaten = [t for t in mine if t["use"] == "consumption"]
            share, lots = round(shares[i.item] * 10**9), sum(t["quantity"] for t in eaten)
            mean = Fraction(sum(t["notional"] for t in eaten), lots * 100) if lots else Fraction(close)
            index += math.floor(share * mean / 10_000)
        out[w, "consumer_price_index", 0] = index
        out[w, "trades", 0] = len(made)
        out[w, "bankruptcies", 0] = int(w == 1)
        out[w, "government_debt", 0] = -_balances(x, (w + 1) * WINDOW)["bonds", 0, 0]
        idle = 0
        for end in range(w * WINDOW + ROUND, (w + 1) * WINDOW + 1, ROUND):
            for person in PEOPLE:
                opening = [r["value"] for r in x.rows["OpeningParameter"] if r["agent"] == person]
                changes = [(-1, int(bool(opening) and opening[0] >= 0))]
                for name, works in (("ContractEnded", 0), ("ContractSigned", 1)):
                    mine = [r for r in x.rows[name] if r["worker"] == person and r["tick"] < end]
                    changes += [(r["tick"] // EPOCH, works) for r in mine]
                idle += 1 - max(changes)[1]
        out[w, "unemployment", 0] = 10**9 * idle // (len(PEOPLE) * WINDOW // ROUND)
    return out


def _floor(value: Fraction) -> int:
    return math.floor(10**9 * value)


def _liquidity(x: Invented) -> dict[tuple[int, int], Row]:
    """The book of each epoch's end as a dictionary; regression by the standard library."""
    out = {}
    for i in INSTRUMENTS:
        book: dict[tuple[str, int], int] = {}
        for w in range(WINDOWS):
            spread, depth, quoted = [Fraction(0), Fraction(0)], Counter[str](), 0
            for epoch in range(w * WINDOW // EPOCH, (w + 1) * WINDOW // EPOCH):
                for r in x.rows["BookUpdated"]:
                    if r["instrument"] == i.instrument and r["tick"] // EPOCH == epoch:
                        book[r["side"], r["price"]] = r["quantity"]
                bids = {p: q for (side, p), q in book.items() if side == "buy" and q}
                asks = {p: q for (side, p), q in book.items() if side == "sell" and q}
                depth["bid_depth"] += sum(bids.values())
                depth["ask_depth"] += sum(asks.values())
                depth["best_bid_depth"] += bids[max(bids)] if bids else 0
                depth["best_ask_depth"] += asks[min(asks)] if asks else 0
                if bids and asks:
                    quoted += 1
                    spread[0] += min(asks) - max(bids)
                    spread[1] += Fraction(min(asks) + max(bids), 2)
            made = [t for t in x.rows["TradeExecuted"] if (t["instrument"], t["tick"] // WINDOW) == (i.instrument, w)]
            flows, moves, ratios = [], [], []
            for n in range(w * WINDOW // ROUND, (w + 1) * WINDOW // ROUND):
                now = [t for t in made if t["tick"] // ROUND == n]
                price, value = x.price(i.instrument, n), sum(t["notional"] for t in now)
                moves.append(x.price(i.instrument, n + 1) - price)
                flows.append(sum(t["quantity"] * (1 if t["taker_side"] == "buy" else -1) for t in now))
                if value:
                    ratios.append(_floor(Fraction(abs(moves[-1]), price) * 10**14 / value))
            slope = covariance([Fraction(f) for f in flows], [Fraction(m) for m in moves])
            out[w, i.instrument] = {
                "trades": len(made), "traded_quantity": sum(t["quantity"] for t in made),
                "traded_value": sum(t["notional"] for t in made), "quoted_epochs": quoted,
                "quoted_spread": _floor(spread[0] / spread[1]) if quoted else None,
                **{name: depth[name] * EPOCH // WINDOW for name in
                   ("best_bid_depth", "best_ask_depth", "bid_depth", "ask_depth")},
                "illiquidity": sum(ratios) // len(ratios),
                "price_impact": _floor(slope / variance([Fraction(f) for f in flows])),
            }  # fmt: skip
    return out


def _stability(x: Invented) -> dict[tuple[int, int], Row]:
    out = {}
    rounds = WINDOW // ROUND
    for i in INSTRUMENTS:
        for w in range(WINDOWS):
            prices = [x.price(i.instrument, r) for r in range(w * rounds, (w + 1) * rounds + 1)]
            changes = [_floor(Fraction(b, a) - 1) for a, b in itertools.pairwise(prices)]
            falls = [_floor(1 - Fraction(b, a)) for k, a in enumerate(prices) for b in prices[k:]]
            out[w, i.instrument] = {
                "opening_price": prices[0], "closing_price": prices[-1],
                "inflation": _floor(Fraction(prices[-1], prices[0]) - 1),
                "realised_volatility": math.isqrt(sum(c * c for c in changes)), "max_drawdown": max(falls),
            }  # fmt: skip
    return out


def _performance(x: Invented) -> dict[tuple[int, int], Row]:
    out: dict[tuple[int, int], Row] = {}
    roles = {r["agent"]: r["role"] for r in x.rows["AgentFounded"]}
    before = dict.fromkeys(roles, 0)
    for w in range(-1, WINDOWS):
        b = _balances(x, (w + 1) * WINDOW)
        close = {i.instrument: x.price(i.instrument, (w + 1) * WINDOW // ROUND) for i in INSTRUMENTS}
        real = {
            a: sum((b["goods", a, j] + b["capital", a, j]) * close[j] * 100 for j in (GOOD, SERVICE)) for a in roles
        }
        worth = {f: close[2] * 10**9 if f == LISTED else b["cash", f, 0] + real[f] for f in FIRMS}
        made = [(*_sides(t), t["notional"]) for t in x.rows["TradeExecuted"] if t["tick"] // WINDOW == w]
        for a, role in roles.items():
            shares = sum(max(b["shares", a, f], 0) * worth[f] // 100_000 for f in FIRMS)
            net = b["cash", a, 0] + b["bonds", a, 0] + real[a] + shares
            out[w, a] = {
                "role": role, "net_worth": net, "change": net - before[a],
                "growth": _floor(Fraction(net - before[a], before[a])) if before[a] > 0 else None,
                "trades": sum(a == side for *sides, _ in made for side in sides),
                "bought": sum(v for buyer, _, v in made if buyer == a),
                "sold": sum(v for _, seller, v in made if seller == a),
            }  # fmt: skip
            before[a] = net
    return {key: row for key, row in out.items() if key[0] >= 0}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    settings = load_settings()
    home = str(java_home(settings.java_home, settings.cache_folder))
    scratch = str(tmp_path_factory.mktemp("spark"))
    jars = spark_jars(settings.cache_folder, java_home(settings.java_home, settings.cache_folder))
    config = JobConfig("", "", jars=jars, java_home=home, scratch=scratch, shuffle_partitions=2, java_options=QUICK)
    with spark_session(config, "rules") as session:
        yield session


def test_jobs_follow_their_definitions(spark: Any) -> None:
    scenario, x = load_scenario("village", {"years": "1"}), Invented()
    assert (scenario.time.window_ticks, scenario.time.round_ticks) == (WINDOW, ROUND)
    source = Frames(spark, x)
    booked = Booked(source, scenario.time, INSTRUMENTS)
    basket = [product.consumption for product in scenario.products]
    expected = {gdp: _gdp(x, round(scenario.targets.vat * 10_000)), gini: _gini(x), activity: _activity(x, basket)}
    for job, figures in expected.items():
        rows = job(source, booked, scenario, WINDOWS).collect()
        found = {(r.window, r.indicator, r.item): int(r.value) for r in rows}
        assert len(found) == len(rows)
        assert {k: (v, figures.get(k)) for k, v in found.items() if v != figures.get(k)} == {}
        assert found.keys() == figures.keys()


def test_instruments_and_agents_follow_their_definitions(spark: Any) -> None:
    scenario, x = load_scenario("village", {"years": "1"}), Invented()
    booked = Booked(Frames(spark, x), scenario.time, INSTRUMENTS)
    expected = {liquidity: _liquidity(x), price_stability: _stability(x), agent_performance: _performance(x)}
    for job, wanted in expected.items():
        rows = [row.asDict() for row in job(booked.source, booked, scenario, WINDOWS).collect()]
        found = {(row.pop("window"), row.pop("instrument" if "instrument" in row else "agent")): row for row in rows}
        assert len(found) == len(rows)
        assert {k: (v, wanted.get(k)) for k, v in found.items() if v != wanted.get(k)} == {}
        assert found.keys() == wanted.keys()
    spreads = {i: [row["quoted_spread"] for (_, j), row in expected[liquidity].items() if i == j] for i in (GOOD, 2)}
    assert spreads[GOOD] == [None, None]  # nobody bids
    assert all(spreads[2])


def test_what_stream_and_batch_do_not_share_is_told(spark: Any) -> None:
    figure = "window int, indicator string, item bigint, value decimal(38,0)"
    stream = [(0, "a", 0, 1), (0, "b", 0, 2), (0, "b", 0, 3), (0, "c", 1, 10**30), (1, "a", 0, 7), (2, "a", 0, 9)]
    batch = [(0, "a", 0, 1), (0, "b", 0, 2), (0, "c", 1, 10**30 + 1), (1, "a", 0, 7), (1, "z", 0, 5)]
    one, other = (
        spark.createDataFrame([(*row[:3], Decimal(row[3])) for row in rows], figure) for rows in (stream, batch)
    )
    rows = compared(one, other, 2)
    assert rows.count() == 5  # the stream is a window ahead
    wrong = {(r.window, r.indicator, r.item): (r.stream, r.batch) for r in disagreements(rows).collect()}
    assert wrong == {(0, "b", 0): (3, 2), (0, "c", 1): (10**30, 10**30 + 1), (1, "z", 0): (None, 5)}


def test_records_of_every_schema_version_are_read(spark: Any) -> None:
    """One topic with records by today's writer, by an older one and by one with fields in another order."""
    today = json.loads(json.dumps(dict(EVENTS["TradeExecuted"].schema)))
    older = {**today, "fields": [f for f in today["fields"] if f["name"] != "tax"]}
    today["fields"] = [{**f, "default": 0} if f["name"] == "tax" else f for f in today["fields"]]
    mixed = {**today, "fields": today["fields"][::-1]}
    record = {"run": 1, "instrument": 2, "seq": 3, "tick": 4, "price": 5, "quantity": 6, "maker_agent": 7,
              "maker_order": 8, "taker_agent": 9, "taker_order": 10, "taker_side": "sell", "use": "investment",
              "instrument_class": "good", "notional": 2**60, "tax": 12}  # fmt: skip
    known = {900: ("TradeExecuted", older), 901: ("TradeExecuted", today), 902: ("TradeExecuted", mixed)}
    rows = []
    for n, (number, (_, schema)) in enumerate(known.items()):
        body = io.BytesIO()
        wanted = {f["name"] for f in schema["fields"]}
        written = {k: v for k, v in (record | {"seq": n}).items() if k in wanted}
        fastavro.schemaless_writer(body, fastavro.parse_schema(schema), written)
        rows.append((b"\0" + number.to_bytes(4, "big") + body.getvalue(), n))
    records = spark.createDataFrame(rows, "value binary, offset bigint")
    found = {row.seq: row.asDict() for row in by_avro(records, "TradeExecuted", known, today).drop("offset").collect()}
    assert found == {n: record | {"seq": n, "tax": 0 if n == 0 else 12} for n in range(3)}


class Written:
    """Records of one partition, at the offsets of their places in the list."""

    def __init__(self, spark: Any, records: Sequence[Row]) -> None:
        values = [encode_record("MoneyTransferred", record) for record in records]
        self.frame = spark.createDataFrame(list(enumerate(values)), "offset bigint, value binary")

    def of(self, family: str, events: Sequence[str]) -> Any:
        """As jobs.source.Records."""
        assert (family, "MoneyTransferred" in events) == (FLOWS, True)
        return self.frame


def test_a_fork_is_read_with_its_ancestor_up_to_the_cut_and_nothing_twice(spark: Any) -> None:
    def paid(run: int, n: int, tick: int) -> Row:
        return {"run": run, "tick": tick, "agent": 7, "n": n, "payee": 8, "kind": "wage", "amount": n, "withheld": 0}

    elder = [paid(1, 0, -1), paid(1, 1, 5), paid(3, 1, 5), paid(1, 2, 39), paid(1, 1, 5), paid(1, 3, 40)]
    fork = [paid(2, 3, 41), paid(2, 4, 59), paid(2, 3, 41), paid(1, 9, 41), paid(2, 4, 59)]
    nowhere: dict[str, list[int]] = {}
    parts = [
        (Extent(1, nowhere, nowhere, -1, 1), Written(spark, elder)),
        (Extent(2, nowhere, nowhere, 2, 2), Written(spark, fork)),
    ]
    log = RunLog(parts, load_scenario("village", {"years": "1"}).time)
    found = [(row.n, row.tick, int(row.amount)) for row in log.frame("MoneyTransferred", ["tick", "amount"]).collect()]
    assert sorted(found) == [(0, -1, 0), (1, 5, 1), (2, 39, 2), (3, 41, 3), (4, 59, 4)]


def test_square_roots_are_exact(spark: Any) -> None:
    roots = [0, 1, 2, 3, 10**9, 10**15, 10**15 - 1, 123_456_789_012_345]
    squares = [x for r in roots for x in (r * r - 1, r * r, r * r + 1) if x >= 0]
    frame = spark.createDataFrame([(str(x),) for x in squares], "x string").selectExpr("cast(x as decimal(38,0)) x")
    found = {int(r.x): int(r.r) for r in frame.selectExpr("x", f"{square_root('x')} r").collect()}
    assert found == {x: math.isqrt(x) for x in squares}


def test_quotients_are_floored_beyond_int64_and_below_zero(spark: Any) -> None:
    cases = [(-7, 2), (7, 2), (-8, 2), (10**37 + 1, 10**9), (-(10**30) - 1, 7), (0, 3), (2**63, 1), (-(2**64) - 1, 2)]
    rows = [(i, str(a), str(b)) for i, (a, b) in enumerate(cases)]
    text = "i int, a string, b string"
    frame = spark.createDataFrame(rows, text).selectExpr(
        "i", "cast(a as decimal(38,0)) a", "cast(b as decimal(38,0)) b"
    )
    found = {r.i: int(r.q) for r in frame.selectExpr("i", f"{floored('a', 'b')} q").collect()}
    assert found == {i: Fraction(a, b).__floor__() for i, (a, b) in enumerate(cases)}


RECORDED = Path(__file__).parent.parent / "data" / "runs" / "0.1.0"


def test_an_exported_run_gives_the_figures_that_its_projection_had(spark: Any) -> None:
    config = JobConfig("", "", shuffle_partitions=2)
    outcomes = run_on_file(["gdp", "gini", "activity"], config, str(RECORDED / "village.avro"), None, spark)
    recorded = json.loads((RECORDED / "state.json").read_text())["village.avro"]["windows"]
    found: list[dict[str, int]] = [{} for _ in recorded]
    for figure in figures_of(outcomes):
        found[figure.window][f"{figure.indicator} {figure.item}"] = figure.value
    assert found == [window["figures"] for window in recorded]


@pytest.mark.parametrize(("file", "job"), [("fork.avro", "gdp"), ("village.avro", "reconcile"), ("README.md", "gdp")])
def test_files_and_jobs_that_do_not_go_together_are_refused(spark: Any, file: str, job: str) -> None:
    with pytest.raises(InputError, match=r"import|no run"):
        run_on_file([job], JobConfig("", ""), str(RECORDED / file), None, spark)

"""Trade, prices, employment and debt: every measure of economy/measures.py that is neither GDP nor inequality.

Definitions: docs/accounts.md. Exact: whole numbers throughout.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

from pyspark.sql import Window
from pyspark.sql import functions as sf

from economy.accounts import GOVERNMENT
from economy.numbers.units import RATE
from economy.opening import PRICE
from economy.records.events import Account, Parameter
from economy.scenario import Scenario
from jobs.postings import EXACT, Booked, Source, every_window, figures
from jobs.stocks import balances
from jobs.trading import listed, traded, trades

VERSION: Final = 1
_GOODS: Final = "instrument_class in ('good', 'service')"


def activity(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """(window, indicator, item, value) of trades, turnover, prices, unemployment, government debt and bankruptcies."""
    every = every_window(booked.prices.sparkSession, windows)
    by_instrument = listed(booked, windows).join(traded(booked, "window"), ["window", "instrument"], "left")
    by_instrument = by_instrument.join(_closing(booked, windows), ["window", "instrument"]).localCheckpoint()
    count = by_instrument.groupBy("window").agg(sf.coalesce(sf.sum("trades"), sf.lit(0)).alias("trades"))
    bonds = balances(booked, windows, Account.BONDS).where(sf.col("agent") == GOVERNMENT)
    failed = booked.event("AgentBankrupt", set()).groupBy("window").agg(sf.count("*").alias("failed"))
    rows = [
        figures(by_instrument, "traded_value", "coalesce(value, 0)", "instrument"),
        figures(by_instrument, "traded_quantity", "coalesce(quantity, 0)", "instrument"),
        figures(by_instrument, "closing_price", "price", "instrument"),
        figures(count, "trades", "trades"),
        figures(_index(booked, scenario, windows), "consumer_price_index"),
        figures(_unemployment(source, booked, windows), "unemployment"),
        figures(every.join(bonds, "window", "left"), "government_debt", "coalesce(-balance, 0)"),
        figures(every.join(failed, "window", "left"), "bankruptcies", "coalesce(failed, 0)"),
    ]
    return reduce(lambda a, b: a.unionByName(b), rows)


def _closing(booked: Booked, windows: int) -> Any:
    """(window, instrument, price) in price steps; the newest one before the end where none was fixed for it."""
    rounds = booked.time.rounds
    known = booked.prices.select("round", "instrument", "price").where(f"round <= {windows * rounds}")
    at = every_window(booked.prices.sparkSession, windows)
    held = at.join(sf.broadcast(known), sf.expr(f"round <= (window + 1) * {rounds}"))
    return held.groupBy("window", "instrument").agg(sf.max_by("price", "round").alias("price"))


def _index(booked: Booked, scenario: Scenario, windows: int) -> Any:
    """Consumer prices: what a product cost on average, else its valuation price, weighted by the opening's basket."""
    basket = {k: round(product.consumption * RATE) for k, product in enumerate(scenario.products)}
    items = [(i.instrument, basket[i.item], i.multiplier * PRICE) for i in booked.instruments if _is_product(i, basket)]
    products = booked.prices.sparkSession.createDataFrame(items, "instrument bigint, share bigint, unit bigint")
    bought = trades(booked, "item", "quantity", "notional").where(f"use = 'consumption' and {_GOODS}")
    spent = bought.groupBy("window", sf.col("item").alias("instrument")).agg(
        sf.sum(sf.col("quantity").cast(EXACT)).cast(EXACT).alias("lots"),
        sf.sum(sf.col("notional").cast(EXACT)).cast(EXACT).alias("spent"),
    )
    priced = _closing(booked, windows).join(sf.broadcast(products), "instrument")
    each = priced.join(spent, ["window", "instrument"], "left").selectExpr(
        "window",
        f"case when lots > 0 then cast(share as {EXACT}) * spent div (lots * unit) "
        f"else cast(share as {EXACT}) * price div {PRICE} end as value",
    )
    return each.groupBy("window").agg(sf.sum("value").cast(EXACT).alias("value"))


def _is_product(instrument: Any, basket: dict[int, int]) -> bool:
    return instrument.instrument_class.name in ("GOOD", "SERVICE") and instrument.item in basket


def _unemployment(source: Source, booked: Booked, windows: int) -> Any:
    """(window, value): rounds at whose end a household has no contract, as a share of all its rounds.

    Who leaves one employer and joins another in the same epoch is employed.
    """
    rounds, last = booked.time.rounds, windows * booked.time.rounds - 1
    people = source.frame("AgentFounded", ["agent", "role"]).where("role = 'household'").select("agent")
    opening = source.frame("OpeningParameter", ["agent", "parameter", "value"]).where(
        sf.col("parameter") == Parameter.EMPLOYER.name.lower()
    )
    states = people.join(opening.select("agent", (sf.col("value") >= 0).alias("works")), "agent", "left")
    states = states.select("agent", sf.lit(-1).alias("epoch"), sf.coalesce("works", sf.lit(False)).alias("works"))
    for event, works in (("ContractEnded", False), ("ContractSigned", True)):
        contracts = booked.event(event, {"worker", "tick"})
        epoch = sf.expr(f"cast(floor(tick / {booked.time.epoch_ticks}) as int)")
        changes = contracts.select(sf.col("worker").alias("agent"), epoch.alias("epoch"), sf.lit(works).alias("works"))
        states = states.unionByName(changes)
    by_epoch = states.groupBy("agent", "epoch").agg(sf.max("works").alias("works"))
    number = sf.floor(sf.col("epoch") * booked.time.epoch_ticks / booked.time.round_ticks).cast("int").alias("round")
    by_round = by_epoch.groupBy("agent", number).agg(sf.max_by("works", "epoch").alias("works"))
    by_round = by_round.where(f"round <= {last}").join(people, "agent")
    following = sf.lead("round", 1, last + 1).over(Window.partitionBy("agent").orderBy("round"))
    idle = by_round.select(
        "works", sf.greatest("round", sf.lit(0)).alias("from"), (following - 1).alias("until")
    ).where("not works and until >= from")
    spread = idle.select(
        "from", "until", sf.explode(sf.expr(f"sequence(from div {rounds}, until div {rounds})")).alias("window")
    )
    idle_rounds = sf.expr(f"least(until, (window + 1) * {rounds} - 1) - greatest(from, window * {rounds}) + 1")
    summed = spread.groupBy(sf.col("window").cast("int").alias("window")).agg(sf.sum(idle_rounds).alias("idle"))
    whole = every_window(people.sparkSession, windows).crossJoin(people.agg(sf.count("*").alias("people")))
    return whole.join(summed, "window", "left").selectExpr(
        "window", f"cast({RATE} * coalesce(idle, 0) as bigint) div greatest(1, people * {rounds}) as value"
    )

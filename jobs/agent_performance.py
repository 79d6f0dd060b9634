"""How each agent fares: net worth at the ends of windows, its growth, trades and volume; in exact integers.

Net worth is what is owned less what is owed: deposits, bonds (negative for who issued them), goods and machines at
closing prices, shares at the market or the issuer's book value. What a corporation owes its own shareholders is not
deducted, so that its net worth is its own funds (System of National Accounts 2008, 13.88).
"""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import Window
from pyspark.sql import functions as sf

from economy.numbers.units import RATE
from economy.records.events import Account
from economy.scenario import Scenario
from jobs.postings import EXACT, Booked, Source, exact_sum, floored
from jobs.stocks import holdings, money, real_assets
from jobs.trading import trades

VERSION: Final = 1
KEYS: Final = ("window", "agent")


def agent_performance(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """One row per window and agent; columns and units as in the table `agent_performance`."""
    agents = source.frame("AgentFounded", ["agent", "role"]).select("agent", "role").dropDuplicates(["agent"])
    session = agents.sparkSession
    every = agents.crossJoin(sf.broadcast(session.range(-1, windows).select(sf.col("id").cast("int").alias("window"))))
    owned = money(booked, windows, Account.CASH, Account.BONDS)
    owned = owned.unionByName(real_assets(booked, windows)).unionByName(holdings(booked, windows))
    worth = owned.groupBy(*KEYS).agg(sf.sum("value").cast(EXACT).alias("net_worth"))
    before = sf.lag("net_worth").over(Window.partitionBy("agent").orderBy("window"))
    known = every.join(worth, list(KEYS), "left").select(
        *KEYS, "role", sf.coalesce("net_worth", sf.lit(0)).cast(EXACT).alias("net_worth")
    )
    known = known.withColumn("before", before).where("window >= 0").join(_dealings(booked), list(KEYS), "left")
    growth = floored(f"{RATE} * (net_worth - before)", "before")
    return known.select(
        *KEYS, "role", "net_worth",
        sf.expr(f"cast(net_worth - before as {EXACT})").alias("change"),
        sf.expr(f"case when before > 0 then {growth} end").alias("growth"),
        sf.coalesce("trades", sf.lit(0)).cast("bigint").alias("trades"),
        *[sf.coalesce(name, sf.lit(0)).cast(EXACT).alias(name) for name in ("bought", "sold")],
    )  # fmt: skip


def _dealings(booked: Booked) -> Any:
    """(window, agent, trades, bought, sold): what each side of a trade paid or received, without tax."""
    made = trades(booked, "window", "buyer", "seller", "notional")
    sides = []
    for holder, amount, other in (("buyer", "bought", "sold"), ("seller", "sold", "bought")):
        summed = made.groupBy("window", sf.col(holder).alias("agent")).agg(
            sf.count("*").alias("trades"), exact_sum("notional").alias(amount)
        )
        sides.append(summed.withColumn(other, sf.lit(0).cast(EXACT)))
    both = sides[0].unionByName(sides[1]).groupBy(*KEYS)
    return both.agg(sf.sum("trades").alias("trades"), *[sf.sum(n).cast(EXACT).alias(n) for n in ("bought", "sold")])


def by_role(rows: Any) -> Any:
    """What a person looks at: sums by window and role, as many rows at any number of agents."""
    return rows.groupBy("window", "role").agg(
        sf.count("*").alias("agents"),
        sf.sum("net_worth").cast(EXACT).alias("net_worth"),
        sf.sum("change").cast(EXACT).alias("change"),
        sf.sum("trades").alias("trades"),
        *[sf.sum(name).cast(EXACT).alias(name) for name in ("bought", "sold")],
    )

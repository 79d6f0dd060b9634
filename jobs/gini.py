"""Gini coefficients and Lorenz curves of households' income and wealth, from the log. Exact: whole numbers throughout.

Definitions: docs/economy.md. Each window is sorted on its own, so windows spread over executors; within a window ranks
come from one sort, which a million households take some ten seconds for.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

from pyspark.sql import Window
from pyspark.sql import functions as sf

from economy.accounts import HOUSEHOLD_INCOME
from economy.measures import LORENZ_POINTS
from economy.numbers.units import RATE
from economy.records.events import Account
from economy.scenario import Scenario
from jobs.postings import EXACT, Booked, Source, every_window, floored
from jobs.stocks import holdings, money

VERSION: Final = 1
_INCOME, _WEALTH = "income", "wealth"


def gini(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """(window, indicator, item, value) of gini_income, gini_wealth and their Lorenz curves."""
    people = source.frame("AgentFounded", ["agent", "role"]).where("role = 'household'").select("agent")
    kinds = [kind.name.lower() for kind in HOUSEHOLD_INCOME]
    paid = booked.event("MoneyTransferred", {"payee", "kind", "amount", "withheld"}).where(sf.col("kind").isin(kinds))
    income = paid.select(
        "window", sf.col("payee").alias("agent"), (sf.col("amount") - sf.col("withheld")).alias("value")
    )
    wealth = money(booked, windows, Account.CASH).unionByName(holdings(booked, windows))
    nothing = people.crossJoin(sf.broadcast(every_window(people.sparkSession, windows)))
    values = [_held(frame, of) for frame, of in ((income, _INCOME), (wealth, _WEALTH))]
    # Who earned or owns nothing counts as well.
    values += [_held(nothing.withColumn("value", sf.lit(0)), of) for of in (_INCOME, _WEALTH)]
    every = reduce(lambda a, b: a.unionByName(b), values).join(sf.broadcast(people), "agent", "left_semi")
    summed = every.groupBy("of", "window", "agent").agg(sf.sum("value").cast(EXACT).alias("value"))
    return _inequality(summed.where(f"window >= 0 and window < {windows}"))


def _held(frame: Any, of: str) -> Any:
    return frame.select(
        sf.lit(of).alias("of"), sf.col("window").cast("int").alias("window"), "agent",
        sf.col("value").cast(EXACT).alias("value"),
    )  # fmt: skip


def _inequality(values: Any) -> Any:
    """gini_* and lorenz_* of (of, window, value): sum((2i - n - 1) x_i) / (n sum(x)) over ascending x, floored to 1e-9.

    The points of a curve are sums up to a rank, all in the one pass that the coefficient needs.
    """
    whole = Window.partitionBy("of", "window")
    ranked = values.select(
        "of", "window", "value",
        sf.row_number().over(whole.orderBy("value")).cast("bigint").alias("i"),
        sf.count("*").over(whole).alias("n"),
    )  # fmt: skip
    points = range(1, LORENZ_POINTS + 1)

    def poorest(k: int) -> Any:
        within = sf.when(sf.expr(f"i <= n * {k} div {LORENZ_POINTS}"), sf.col("value"))
        return sf.coalesce(sf.sum(within), sf.lit(0)).cast(EXACT).alias(f"poorest_{k}")

    sums = ranked.groupBy("of", "window").agg(
        sf.max("n").cast(EXACT).alias("n"),
        sf.sum(sf.expr(f"cast(2 * i - n - 1 as {EXACT}) * value").cast(EXACT)).cast(EXACT).alias("weighted"),
        sf.sum("value").cast(EXACT).alias("total"),
        *[poorest(k) for k in points],
    )
    found = [_figure("gini", 0, "weighted", "n * total")] + [
        _figure("lorenz", k, f"poorest_{k}", "total") for k in points
    ]
    return sums.select("window", sf.explode(sf.array(*found)).alias("f")).select("window", "f.*")


def _figure(name: str, item: int, part: str, whole: str) -> Any:
    """The figure (indicator, item, value): a share of the total in 1e-9, 0 where there is none."""
    share = f"case when total > 0 then {floored(f'{RATE} * {part}', whole)} else 0 end"
    return sf.struct(
        sf.concat(sf.lit(f"{name}_"), "of").alias("indicator"), sf.lit(item).cast("bigint").alias("item"),
        sf.expr(share).cast(EXACT).alias("value"),
    )  # fmt: skip

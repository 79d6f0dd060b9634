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
from economy.events import Account
from economy.measures import LORENZ_POINTS
from economy.scenario import Scenario
from economy.units import RATE
from jobs.postings import EXACT, Booked, Source, every_window, figures, floored
from jobs.stocks import holdings, money

VERSION: Final = 1


def gini(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """(window, indicator, item, value) of gini_income, gini_wealth and their Lorenz curves."""
    people = source.frame("AgentFounded", ["agent", "role"]).where("role = 'household'").select("agent")
    grid = people.crossJoin(sf.broadcast(every_window(people.sparkSession, windows)))
    kinds = [kind.name.lower() for kind in HOUSEHOLD_INCOME]
    paid = booked.event("MoneyTransferred", {"payee", "kind", "amount", "withheld"}).where(sf.col("kind").isin(kinds))
    income = paid.select(
        "window", sf.col("payee").alias("agent"), (sf.col("amount") - sf.col("withheld")).alias("value")
    )
    wealth = money(booked, windows, Account.CASH).unionByName(holdings(booked, windows))
    rows = []
    for name, held in (("income", income), ("wealth", wealth)):
        summed = held.groupBy("window", "agent").agg(sf.sum(sf.col("value").cast(EXACT)).cast(EXACT).alias("value"))
        values = grid.join(summed, ["window", "agent"], "left").select(
            "window", sf.coalesce("value", sf.lit(0).cast(EXACT)).alias("value")
        )
        rows += _inequality(values, name)
    return reduce(lambda a, b: a.unionByName(b), rows)


def _inequality(values: Any, name: str) -> list[Any]:
    """gini_* and lorenz_* of (window, value): sum((2i - n - 1) x_i) / (n sum(x)) over ascending x, floored to 1e-9."""
    whole = Window.partitionBy("window")
    ranked = values.select(
        "window", "value",
        sf.row_number().over(whole.orderBy("value")).cast(EXACT).alias("i"),
        sf.count("*").over(whole).cast(EXACT).alias("n"),
    ).localCheckpoint()  # fmt: skip
    sums = ranked.groupBy("window", "n").agg(
        sf.sum(sf.expr(f"cast((2 * i - n - 1) * value as {EXACT})")).cast(EXACT).alias("weighted"),
        sf.sum("value").cast(EXACT).alias("total"),
    )
    share = f"case when total > 0 then {floored(f'{RATE} * weighted', 'n * total')} else 0 end"
    coefficient = figures(sums, f"gini_{name}", share)
    points = sums.sparkSession.range(1, LORENZ_POINTS + 1).select(sf.col("id").alias("k"))
    curve = (
        ranked.crossJoin(sf.broadcast(points)).where(sf.expr(f"i <= cast(n * k as {EXACT}) div {LORENZ_POINTS}"))
        .groupBy("window", "k").agg(sf.sum("value").cast(EXACT).alias("poorest"))
    )  # fmt: skip
    grid = sums.select("window", "total").crossJoin(sf.broadcast(points)).join(curve, ["window", "k"], "left")
    poorest = f"coalesce(poorest, cast(0 as {EXACT}))"
    part = f"case when total > 0 then {floored(f'{RATE} * {poorest}', 'total')} else 0 end"
    return [coefficient, figures(grid, f"lorenz_{name}", part, "k")]

"""Stability of each instrument's price over each window: inflation, realised volatility, maximum drawdown; exact.

All from the valuation prices at the rounds' ends, the one before the window's first round included.

- Inflation: closing price / opening price - 1.
- Realised volatility: square root of the sum of squared returns (Andersen and Bollerslev 1998, with simple returns of
  rounds); per window, not annualised.
- Maximum drawdown: largest fall from the highest price so far, as a share of that (Magdon-Ismail and Atiya 2004).
"""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import Window
from pyspark.sql import functions as sf

from economy.numbers.units import RATE
from economy.scenario import Scenario
from jobs.postings import EXACT, Booked, Source, floored

VERSION: Final = 1
KEYS: Final = ("window", "instrument")


def price_stability(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """One row per window and instrument with a price; columns and units as in the table `price_stability`."""
    rounds = booked.time.rounds
    order = Window.partitionBy("instrument").orderBy("round")
    prices = booked.prices.where(f"price > 0 and round <= {windows * rounds}").select(
        "instrument", "round", sf.col("price").cast(EXACT).alias("price")
    )
    steps = prices.withColumn("before", sf.lag("price").over(order)).where("before is not null")
    # A price that holds from round r on was fixed at the end of round r - 1, which names the window.
    steps = steps.withColumn("window", sf.expr(f"cast((round - 1) div {rounds} as int)"))
    so_far = Window.partitionBy(*KEYS).orderBy("round").rowsBetween(Window.unboundedPreceding, 0)
    steps = steps.withColumn("peak", sf.max(sf.greatest("price", "before")).over(so_far)).selectExpr(
        *KEYS, "round", "price", "before",
        f"{floored(f'{RATE} * (price - before)', 'before')} as change",
        f"{floored(f'{RATE} * (peak - price)', 'peak')} as drawdown",
    )  # fmt: skip
    sums = steps.groupBy(*KEYS).agg(
        sf.min_by("before", "round").alias("opening_price"),
        sf.max_by("price", "round").alias("closing_price"),
        sf.sum(sf.expr(f"cast(change * change as {EXACT})")).cast(EXACT).alias("squares"),
        sf.max("drawdown").alias("max_drawdown"),
    )
    return sums.selectExpr(
        *KEYS, "cast(opening_price as bigint) as opening_price", "cast(closing_price as bigint) as closing_price",
        f"{floored(f'{RATE} * (closing_price - opening_price)', 'opening_price')} as inflation",
        f"{square_root('squares')} as realised_volatility",
        "max_drawdown",
    )  # fmt: skip


def square_root(square: str) -> str:
    """SQL of the floored square root of a whole number below 1e30: the float's guess is set right exactly."""
    guess = f"cast(floor(sqrt(cast({square} as double))) as {EXACT})"
    over, under = f"{guess} * {guess} > {square}", f"({guess} + 1) * ({guess} + 1) <= {square}"
    return f"cast({guess} - case when {over} then 1 when {under} then -1 else 0 end as {EXACT})"

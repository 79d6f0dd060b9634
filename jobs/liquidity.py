"""Liquidity of each instrument and window: spread, depth, turnover, illiquidity and price impact, in exact integers.

Quotes stand from one epoch's end to the next, where BookUpdated tells them, so a mean over epochs is a mean over time.
In markets with one-sided books (goods are offered, bids do not rest) there is no spread; it is null.

- Quoted spread: 2 (ask - bid) / (ask + bid), sums over the epochs with both sides (Foucault, Pagano and Roell, Market
  Liquidity, 2013, 2.2).
- Depth: quantity at the best price and in the whole book of a side, mean over all epochs; an empty side counts as 0.
- Turnover: trades, their quantity and value.
- Illiquidity: mean over the rounds with trades of |return| / value traded (Amihud 2002, eq. 1, with rounds for days).
- Price impact: slope of the least squares line of a round's price change on its order flow, bought less sold by who
  took liquidity (Kyle 1985; estimated as in Hasbrouck 2009). Null where the flow does not vary.

Prices of rounds are valuation prices: floored volume-weighted means, kept where nothing was traded.
"""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import Window
from pyspark.sql import functions as sf

from economy.numbers.units import MONEY_SCALE, RATE
from economy.scenario import Scenario
from jobs.postings import EXACT, Booked, Source, floored
from jobs.trading import listed, traded

VERSION: Final = 1
KEYS: Final = ("window", "instrument")
_MILLION: Final = 10 ** (MONEY_SCALE + 6)  # of the currency, in 1e-8: Amihud's ratios are given per million


def liquidity(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """One row per window and instrument; columns and units as in the table `liquidity`."""
    by_round = traded(booked, "round").localCheckpoint()
    turnover = by_round.groupBy((sf.col("round") / booked.time.rounds).cast("int").alias("window"), "instrument").agg(
        *[sf.sum(name).cast(kind).alias(name) for name, kind in _TURNOVER.items()]
    )
    rows = listed(booked, windows)
    for part in (turnover, _quotes(source, booked, windows), _impact(booked, by_round, windows)):
        rows = rows.join(part, list(KEYS), "left")
    return rows.select(
        *KEYS,
        sf.coalesce("trades", sf.lit(0)).cast("bigint").alias("trades"),
        sf.coalesce("quantity", sf.lit(0)).cast(EXACT).alias("traded_quantity"),
        sf.coalesce("value", sf.lit(0)).cast(EXACT).alias("traded_value"),
        sf.coalesce("quoted_epochs", sf.lit(0)).cast("bigint").alias("quoted_epochs"),
        "quoted_spread",
        *[sf.coalesce(name, sf.lit(0)).cast(EXACT).alias(name) for name in _DEPTHS],
        "illiquidity",
        "price_impact",
    )


_TURNOVER: Final = {"trades": "bigint", "quantity": EXACT, "value": EXACT}
_DEPTHS: Final = ("best_bid_depth", "best_ask_depth", "bid_depth", "ask_depth")


def best_quotes(source: Source, booked: Booked, windows: int) -> Any:
    """(instrument, epoch, bid, ask, *_depth) at the end of every epoch at which anything rests.

    A level stands from the epoch of its change to the one before the next: the book is never held in one place.
    """
    c = booked.time
    last = windows * c.window_ticks // c.epoch_ticks - 1
    levels = source.frame("BookUpdated", ["instrument", "seq", "tick", "side", "price", "quantity"])
    level = Window.partitionBy("instrument", "side", "price")
    epoch = sf.expr(f"cast(floor(tick / {c.epoch_ticks}) as int)")
    changed = levels.groupBy("instrument", "side", "price", epoch.alias("from")).agg(
        sf.max_by("quantity", "seq").alias("quantity")
    )
    standing = changed.withColumn("until", sf.lead("from", 1, last + 1).over(level.orderBy("from")) - 1)
    standing = standing.withColumn("until", sf.least("until", sf.lit(last))).where(
        sf.expr("quantity > 0 and until >= from")
    )
    at = standing.select(
        "instrument", "side", "price", "quantity", sf.explode(sf.expr("sequence(from, until)")).alias("epoch")
    )
    bids, asks = (sf.when(sf.col("side") == side, sf.col("price")) for side in ("buy", "sell"))
    at = at.withColumn("bid_price", bids).withColumn("ask_price", asks)
    lots = sf.col("quantity").cast(EXACT)
    return at.groupBy("instrument", "epoch").agg(
        sf.max("bid_price").alias("bid"),
        sf.min("ask_price").alias("ask"),
        sf.max_by("quantity", "bid_price").cast(EXACT).alias("best_bid_depth"),
        sf.min_by("quantity", "ask_price").cast(EXACT).alias("best_ask_depth"),
        sf.sum(sf.when(sf.col("side") == "buy", lots)).cast(EXACT).alias("bid_depth"),
        sf.sum(sf.when(sf.col("side") == "sell", lots)).cast(EXACT).alias("ask_depth"),
    )


def _quotes(source: Source, booked: Booked, windows: int) -> Any:
    epochs = booked.time.window_ticks // booked.time.epoch_ticks
    quotes = best_quotes(source, booked, windows).withColumn("window", sf.expr(f"cast(epoch div {epochs} as int)"))
    both = sf.expr("bid is not null and ask is not null")
    sums = quotes.groupBy(*KEYS).agg(
        sf.count(sf.when(both, 1)).alias("quoted_epochs"),
        sf.sum(sf.when(both, (sf.col("ask") - sf.col("bid")).cast(EXACT))).cast(EXACT).alias("difference"),
        sf.sum(sf.when(both, (sf.col("ask") + sf.col("bid")).cast(EXACT))).cast(EXACT).alias("twice_mid"),
        *[sf.sum(sf.coalesce(name, sf.lit(0))).cast(EXACT).alias(name) for name in _DEPTHS],
    )
    return sums.select(
        *KEYS, "quoted_epochs",
        sf.expr(f"case when quoted_epochs > 0 then {floored(f'{2 * RATE} * difference', 'twice_mid')} end").alias(
            "quoted_spread"
        ),
        *[sf.expr(floored(name, str(epochs))).alias(name) for name in _DEPTHS],
    )  # fmt: skip


def _impact(booked: Booked, by_round: Any, windows: int) -> Any:
    """(window, instrument, illiquidity, price_impact) from the rounds' price changes, values and order flows."""
    rounds = booked.time.rounds
    order = Window.partitionBy("instrument").orderBy("round")
    prices = booked.prices.select("instrument", "round", sf.col("price").cast(EXACT).alias("price"))
    moves = prices.select("instrument", "round", "price", sf.lead("price").over(order).alias("next")).where(
        f"next is not null and round < {windows * rounds}"
    )
    known = moves.join(by_round, ["instrument", "round"], "left").select(
        sf.expr(f"cast(round div {rounds} as int)").alias("window"), "instrument", "price",
        (sf.col("next") - sf.col("price")).cast(EXACT).alias("dp"),
        sf.coalesce("flow", sf.lit(0)).cast(EXACT).alias("flow"), "value",
    )  # fmt: skip
    ratio = floored(f"{RATE} * cast({_MILLION} as {EXACT}) * abs(dp)", "price * value")
    sums = known.groupBy(*KEYS).agg(
        sf.sum(sf.expr(f"case when value > 0 and price > 0 then {ratio} end")).cast(EXACT).alias("ratios"),
        sf.count(sf.expr("case when value > 0 and price > 0 then 1 end")).alias("days"),
        sf.count("*").cast(EXACT).alias("n"),
        *[sf.sum(sf.expr(f"cast({term} as {EXACT})")).cast(EXACT).alias(name) for name, term in _MOMENTS.items()],
    )
    spread = "(n * xx - x * x)"
    slope = floored(f"{RATE} * (n * xy - x * y)", spread)
    return sums.select(
        *KEYS,
        sf.expr(f"case when days > 0 then {floored('ratios', 'days')} end").alias("illiquidity"),
        sf.expr(f"case when {spread} > 0 then {slope} end").alias("price_impact"),
    )


_MOMENTS: Final = {"x": "flow", "y": "dp", "xx": "flow * flow", "xy": "flow * dp"}

"""Trades by instrument: what activity, liquidity and the performance of agents count."""

from __future__ import annotations

from typing import Any, Final

from pyspark.sql import functions as sf

from economy.records.events import InstrumentClass, TradeExecuted
from jobs.postings import Booked, exact_sum, follows_a_rule

_COLUMNS: Final = {"instrument", "quantity", "notional", "taker_side", "use", "instrument_class"}


def trades(booked: Booked, *columns: str) -> Any:
    """The trades that a posting rule covers (tapes' currencies are not the economy's), with the named columns."""
    rules = {"use", "instrument_class"}
    return booked.event(TradeExecuted.name, set(columns) | rules).where(follows_a_rule(TradeExecuted.name))


def traded(booked: Booked, *keys: str) -> Any:
    """(instrument, *keys, trades, quantity, value, flow): sums; `flow` is bought less sold by the takers, in lots.

    Keys are `window` and `round`. Kyle's (1985) order flow is signed by who took liquidity.
    """
    signed = sf.when(sf.col("taker_side") == "buy", sf.col("quantity")).otherwise(-sf.col("quantity"))
    frame = trades(booked, *_COLUMNS).withColumn("flow", signed)
    return frame.groupBy("instrument", *keys).agg(
        sf.count("*").alias("trades"),
        exact_sum("quantity").alias("quantity"),
        exact_sum("notional").alias("value"),
        exact_sum("flow").alias("flow"),
    )


def listed(booked: Booked, windows: int) -> Any:
    """(window, instrument) of every instrument of the economy and every window: who did not trade has rows too."""
    numbers = [(i.instrument,) for i in booked.instruments if i.instrument_class != InstrumentClass.CURRENCY]
    session = booked.prices.sparkSession
    every = session.range(windows).select(sf.col("id").cast("int").alias("window"))
    return every.crossJoin(sf.broadcast(session.createDataFrame(numbers, "instrument bigint")))

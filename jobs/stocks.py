"""What agents own at the ends of windows, and what it is worth: the stocks behind wealth and net worth.

Values are exact: quantities times the valuation price of the window's end, holdings of shares floored each. The window
before the first (-1) is the opening, at the instruments' reference prices.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import Window
from pyspark.sql import functions as sf

from economy.numbers.units import SHARES
from economy.records.events import Account, InstrumentClass
from jobs.postings import EXACT, Booked, floored


def balances(booked: Booked, windows: int, *kinds: Account) -> Any:
    """(window, agent, item, balance) of windows -1..windows-1, of who ever had a posting on one of the accounts.

    Of one agent and item there is a row for each account.
    """
    every = booked.once(("balances", windows), lambda: _balances(booked, windows).persist())
    chosen = every.where(sf.col("account").isin([int(kind) for kind in kinds]))
    return chosen.select("window", "agent", "item", "balance")


def _balances(booked: Booked, windows: int) -> Any:
    """(window, account, agent, item, balance) of all accounts.

    A balance stands from the window of its last posting to the one before the next, so that what is made of it grows
    with the windows, not with their square.
    """
    key = ["account", "agent", "item"]
    owned = Window.partitionBy(*key).orderBy("window")
    legs = booked.legs.where(sf.col("window") < windows)
    changed = legs.groupBy("window", *key).agg(sf.sum("amount").cast(EXACT).alias("amount"))
    standing = changed.select(
        *key, "window",
        (sf.lead("window", 1, windows).over(owned) - 1).alias("until"),
        sf.sum("amount").over(owned.rowsBetween(Window.unboundedPreceding, 0)).cast(EXACT).alias("balance"),
    )  # fmt: skip
    at = sf.explode(sf.sequence(sf.col("window"), sf.col("until"))).alias("at")
    return standing.select(at, *key, "balance").withColumnRenamed("at", "window")


def closing(booked: Booked, windows: int) -> Any:
    """(window, instrument, price) of windows -1..windows-1: money per lot (per share) at the window's end."""
    rounds = booked.time.rounds
    held = booked.prices.where(f"round % {rounds} = 0 and round <= {windows * rounds}")
    return held.select(
        sf.expr(f"cast(round div {rounds} - 1 as int)").alias("window"), "instrument",
        (sf.col("price") * sf.col("multiplier")).cast(EXACT).alias("price"),
    )  # fmt: skip


def money(booked: Booked, windows: int, *kinds: Account) -> Any:
    """(window, agent, value) of accounts that count money."""
    return balances(booked, windows, *kinds).select("window", "agent", sf.col("balance").alias("value"))


def real_assets(booked: Booked, windows: int) -> Any:
    """(window, agent, value) of goods and machines at the closing price of their product."""
    price = closing(booked, windows).withColumnRenamed("instrument", "item")
    stocks = balances(booked, windows, Account.GOODS, Account.CAPITAL)
    return stocks.join(sf.broadcast(price), ["window", "item"]).select(
        "window", "agent", (sf.col("balance") * sf.col("price")).cast(EXACT).alias("value")
    )


def holdings(booked: Booked, windows: int) -> Any:
    """(window, agent, value) of holders' shares: listed at the closing price, others at the issuer's book value."""
    book = real_assets(booked, windows).unionByName(money(booked, windows, Account.CASH))
    book = book.groupBy("window", "agent").agg(sf.sum("value").cast(EXACT).alias("book"))
    equities = [i for i in booked.instruments if i.instrument_class == InstrumentClass.EQUITY]
    listed = closing(booked, windows).where(sf.col("instrument").isin([i.instrument for i in equities]))
    if equities:
        issuer: Any = sf.create_map(*[sf.lit(v) for i in equities for v in (i.instrument, i.item)])
        issuer = issuer[sf.col("instrument")]
    else:
        issuer = sf.lit(None)
    market = listed.select(
        "window", issuer.cast("bigint").alias("agent"), (sf.col("price") * SHARES).cast(EXACT).alias("market")
    )
    worth = book.join(sf.broadcast(market), ["window", "agent"], "left").select(
        "window", sf.col("agent").alias("item"), sf.coalesce("market", "book").alias("worth")
    )
    shares = balances(booked, windows, Account.SHARES).where("balance > 0")
    return shares.join(worth, ["window", "item"]).select(
        "window", "agent", sf.expr(floored("balance * worth", str(SHARES))).alias("value")
    )

"""GDP by three approaches with all components, from the log. Definitions: docs/economy.md."""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

from pyspark.sql import functions as sf

from economy.accounts import COMPONENTS
from economy.opening import PRICE
from economy.records.events import Account, InstrumentClass, Use
from economy.scenario import Scenario
from jobs.postings import EXACT, STOCK, Booked, Source, every_window, figures, floored

VERSION: Final = 1
_TAX: Final = 10_000
_INVENTORIES, _SURPLUS = "inventory_change", "gross_operating_surplus"


def gdp(source: Source, booked: Booked, scenario: Scenario, windows: int) -> Any:
    """(window, indicator, item, value) of GDP, its components and real GDP, for windows 0..windows-1."""
    prices = booked.prices.select("round", sf.col("instrument").alias("item"), "price", "multiplier")
    value = (sf.col("amount") * sf.col("price") * sf.col("multiplier")).cast(EXACT)
    valued = booked.contributions.where("valued").join(sf.broadcast(prices), ["round", "item"])
    money = booked.contributions.where("not valued").select("window", "name", "amount")
    parts = money.unionByName(valued.select("window", "name", value.alias("amount")))
    parts = parts.withColumn("name", sf.when(sf.col("name") == STOCK, _INVENTORIES).otherwise(sf.col("name")))
    stocks = parts.where(sf.col("name") == _INVENTORIES).withColumn("name", sf.lit(_SURPLUS))
    parts = parts.unionByName(stocks).unionByName(_operating(source, booked))
    names = list(dict.fromkeys(name for components in COMPONENTS.values() for name in components))
    wide = parts.groupBy("window").pivot("name", names).agg(sf.sum("amount").cast(EXACT))
    every = every_window(prices.sparkSession, windows)
    zero = sf.lit(0).cast(EXACT)
    wide = every.join(wide, "window", "left").select("window", *[sf.coalesce(n, zero).alias(n) for n in names])
    wide = wide.localCheckpoint()
    rows = [figures(wide, name, name) for name in names]
    for approach, components in COMPONENTS.items():
        total = " + ".join(f"({sign}) * {name}" for name, sign in components.items())
        rows.append(figures(wide, f"gdp_{approach.value}", total))
    rows.append(_real(booked, every, scenario))
    return reduce(lambda a, b: a.unionByName(b), rows)


def _operating(source: Source, booked: Booked) -> Any:
    """Operating cash of corporations: the change of their accounts less what is not operating."""
    firms = source.frame("AgentFounded", ["agent", "role"]).where("role = 'corporation'").select("agent")
    cash = booked.legs.where((sf.col("account") == int(Account.CASH)) & (sf.col("window") >= 0))
    cash = cash.join(sf.broadcast(firms), "agent")
    other = cash.where("not operating").withColumn("amount", -sf.col("amount"))
    return cash.unionByName(other).select(
        "window", sf.lit(_SURPLUS).alias("name"), sf.col("amount").cast(EXACT).alias("amount")
    )


def _real(booked: Booked, every: Any, scenario: Scenario) -> Any:
    """Final uses and the change in stocks at the price of the start, consumption with its tax; floored once."""
    vat = round(scenario.targets.vat * _TAX)
    products = [i for i in booked.instruments if i.instrument_class != InstrumentClass.EQUITY]
    scale = sf.create_map(*[sf.lit(v) for i in products for v in (i.item, i.multiplier)])[sf.col("item")]
    weight = sf.when(sf.col("use") == Use.CONSUMPTION.name.lower(), sf.lit(_TAX + vat)).otherwise(sf.lit(_TAX))
    final = [use.name.lower() for use in (Use.CONSUMPTION, Use.GOVERNMENT, Use.INVESTMENT)]
    sold = booked.sums("TradeExecuted", ["window", "item"], {"quantity"}).where(
        sf.col("use").isin(final) & (sf.col("instrument_class") != "equity")
    )
    stocks = booked.contributions.where(sf.col("name") == STOCK).select("window", "item", sf.col("amount") * _TAX)
    lots = sold.select("window", "item", sf.col("quantity") * weight).toDF("window", "item", "lots")
    lots = lots.unionByName(stocks.toDF("window", "item", "lots"))
    total = lots.groupBy("window").agg(sf.sum((sf.col("lots") * scale).cast(EXACT)).cast(EXACT).alias("lots"))
    whole = every.join(total, "window", "left").select(
        "window", sf.coalesce("lots", sf.lit(0).cast(EXACT)).alias("lots")
    )
    return figures(whole, "gdp_real", floored(f"lots * {PRICE}", str(_TAX)))

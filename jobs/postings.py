"""The posting rules as DataFrame expressions: economy/accounts.py translated once, for every job.

Records are exploded into the postings of their rules, and these are summed; trades, of which there are most, are first
summed by the columns that the rules look at. The two results are small and cut loose from the plan that made them, so
that jobs can combine them many times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, reduce
from typing import Any, Final, Protocol

from pyspark.sql import functions as sf

from economy import accounts
from economy.accounts import Leg, Rule
from economy.calendar import Calendar
from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import Account, InstrumentClass, TransferKind, Use

EXACT: Final = "decimal(38,0)"
STOCK: Final = "stock"  # name of a change of the total goods balance among the contributions
_ENUMS: Final = {"instrument_class": InstrumentClass, "use": Use, "kind": TransferKind, "account": Account}
# Summed before they are exploded into postings, which costs a shuffle each: most of what a run writes.
_MANY: Final = frozenset({e.TradeExecuted.name})
_DERIVED: Final = ("buyer", "seller", "item")


class Source(Protocol):
    """Where a job's events come from."""

    def frame(self, event: str, columns: Sequence[str]) -> Any:
        """Unique records of one kind with the named columns."""


def _event_items(event: str) -> list[str]:
    """Columns with the product of an event's valued amounts."""
    goods = {leg.item for rule in accounts.rules_of(event) for leg in rule.legs if leg.account == Account.GOODS}
    return sorted(goods - {""})


class Booked:
    """What the rules make of a run's events."""

    def __init__(self, source: Source, time: Calendar, instruments: Sequence[Instrument]) -> None:
        self.source, self.time, self.instruments = source, time, tuple(instruments)
        self._known: dict[object, Any] = {}

    def once(self, name: object, make: Callable[[], Any]) -> Any:
        """What `make` gives, made once for all jobs that share this."""
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]

    def event(self, event: str, names: set[str]) -> Any:
        """An event's columns `names` with `window` and `round`; trades know buyer, seller and item too."""
        columns = names - {"window", "round"}
        trade = event == e.TradeExecuted.name
        if trade:
            columns = columns - set(_DERIVED) | {"instrument", "maker_agent", "taker_agent", "taker_side"}
        frame = self.source.frame(event, sorted(columns | {"tick"}))
        frame = frame.withColumn("window", sf.expr(f"cast(floor(tick / {self.time.window_ticks}) as int)"))
        frame = frame.withColumn("round", sf.expr(f"cast(floor(tick / {self.time.round_ticks}) as int)"))
        if not trade:
            return frame
        pairs = [sf.lit(v) for i in self.instruments for v in (i.instrument, i.item)]
        buys = sf.col("taker_side") == "buy"
        return (
            frame.withColumn("buyer", sf.when(buys, sf.col("taker_agent")).otherwise(sf.col("maker_agent")))
            .withColumn("seller", sf.when(buys, sf.col("maker_agent")).otherwise(sf.col("taker_agent")))
            .withColumn("item", sf.create_map(*pairs)[sf.col("instrument")].cast("bigint"))
        )

    def sums(self, event: str, keys: Sequence[str], amounts: set[str]) -> Any:
        """Exact sums of amounts of an event by `keys` and the columns of its rules' conditions."""
        where = {name for rule in accounts.rules_of(event) for name in rule.where}
        frame = self.event(event, set(keys) | amounts | where)
        grouped = frame.groupBy(*dict.fromkeys([*keys, *sorted(where)]))
        return grouped.agg(*[exact_sum(name).alias(name) for name in sorted(amounts)])

    def _amounts(self, event: str, keys: Sequence[str], amounts: set[str]) -> Any:
        """Amounts of an event by `keys` and the columns of its rules' conditions: the records' own, or their sums."""
        if event in _MANY:
            return self.sums(event, keys, amounts)
        by = dict.fromkeys([*keys, *sorted({name for rule in accounts.rules_of(event) for name in rule.where})])
        frame = self.event(event, set(by) | amounts)
        return frame.select(*by, *[sf.col(name).cast(EXACT).alias(name) for name in sorted(amounts)])

    @cached_property
    def legs(self) -> Any:
        """(window, account, agent, item, operating, amount): every posting, summed. The opening is window -1."""
        parts = []
        for event in sorted({rule.event for rule in accounts.RULES}):
            rules = accounts.rules_of(event)
            holders: dict[str | int | None, None] = {None: None}  # all at once
            if event in _MANY:
                # Each holder's legs apart: sums by buyer, then by seller, are few; by both there is one for each trade.
                holders = dict.fromkeys(leg.agent for rule in rules for leg in rule.legs)
            for holder in holders:
                chosen = [(rule, [leg for leg in rule.legs if holder in (None, leg.agent)]) for rule in rules]
                legs = [leg for _, found in chosen for leg in found]
                keys = {leg.agent for leg in legs if isinstance(leg.agent, str)} | {
                    leg.item for leg in legs if leg.item
                }
                amounts = {name for leg in legs for name, _ in leg.quantity}
                summed = self._amounts(event, ["window", *sorted(keys)], amounts)
                postings = _by_rule((rule, [_posting(leg) for leg in found]) for rule, found in chosen)
                parts.append(summed.select("window", sf.explode(postings).alias("p")))
        every = reduce(lambda a, b: a.unionByName(b), parts).select("window", "p.*")
        grouped = every.groupBy("window", "account", "agent", "item", "operating")
        return grouped.agg(sf.sum("amount").cast(EXACT).alias("amount")).localCheckpoint()

    @cached_property
    def contributions(self) -> Any:
        """(window, round, name, item, valued, amount): entries of the GDP components, and STOCK for goods, summed."""
        parts = []
        for event in sorted({rule.event for rule in accounts.RULES}):
            rules, items = accounts.rules_of(event), _event_items(event)
            amounts = {entry.column for rule in rules for entry in rule.entries}
            goods = [(rule, leg) for rule in rules for leg in rule.legs if leg.account == Account.GOODS]
            amounts |= {name for _, leg in goods for name, _ in leg.quantity}
            if not amounts:
                continue
            summed = self._amounts(event, ["window", "round", *items], amounts)
            item = (sf.col(items[0]) if items else sf.lit(0)).cast("bigint").alias("item")

            def contributed(name: str, valued: bool, amount: Any, item: Any = item) -> Any:
                return sf.struct(
                    sf.lit(name).alias("name"), item, sf.lit(valued).alias("valued"), amount.cast(EXACT).alias("amount")
                )

            postings = _by_rule(
                (
                    rule,
                    [contributed(x.component, x.valued, sf.col(x.column) * x.sign) for x in rule.entries]
                    + [contributed(STOCK, True, _total(leg.quantity)) for r, leg in goods if r is rule],
                )
                for rule in rules
            )
            exploded = summed.where("window >= 0").select("window", "round", sf.explode(postings).alias("p"))
            parts.append(exploded)
        every = reduce(lambda a, b: a.unionByName(b), parts).select("window", "round", "p.*")
        grouped = every.groupBy("window", "round", "name", "item", "valued")
        return grouped.agg(sf.sum("amount").cast(EXACT).alias("amount")).localCheckpoint()

    @cached_property
    def prices(self) -> Any:
        """(round, instrument, price, multiplier): valuation prices from the round in which they hold, and the money
        per price step and lot."""
        fixed = self.source.frame(e.PriceFixed.name, ["instrument", "tick", "price"])
        held = fixed.select(
            sf.expr(f"cast(floor(tick / {self.time.round_ticks}) as int) + 1").alias("round"), "instrument", "price"
        )
        start = [(0, i.instrument, i.reference_price) for i in self.instruments]
        first = fixed.sparkSession.createDataFrame(start, "round int, instrument bigint, price bigint")
        scale = [sf.lit(v) for i in self.instruments for v in (i.instrument, i.multiplier)]
        multiplier = sf.create_map(*scale)[sf.col("instrument")].cast("bigint").alias("multiplier")
        return held.unionByName(first).select("round", "instrument", "price", multiplier).localCheckpoint()


def exact_sum(name: str) -> Any:
    """Exact sum of a bigint column: upper and lower halves are summed apart, since sums of decimals are slow."""
    upper, lower = sf.sum(sf.shiftright(sf.col(name), 32)), sf.sum(sf.col(name).bitwiseAND(sf.lit(0xFFFFFFFF)))
    return (upper.cast(EXACT) * sf.lit(1 << 32) + lower).cast(EXACT)


def _posting(leg: Leg) -> Any:
    return sf.struct(
        sf.lit(int(leg.account)).alias("account"),
        (sf.col(leg.agent) if isinstance(leg.agent, str) else sf.lit(leg.agent)).cast("bigint").alias("agent"),
        (sf.col(leg.item) if leg.item else sf.lit(0)).cast("bigint").alias("item"),
        sf.lit(leg.operating).alias("operating"),
        _total(leg.quantity).cast(EXACT).alias("amount"),
    )


def _by_rule(parts: Iterable[tuple[Rule, list[Any]]]) -> Any:
    """The array of structs of the rule that applies to a row; null, hence no row when exploded, where none does."""
    chosen: Any = sf
    for rule, structs in parts:
        if structs:
            chosen = chosen.when(_applies(rule), sf.array(*structs))
    return chosen


def follows_a_rule(event: str) -> Any:
    """Condition: a record of this kind is covered by one of the posting rules."""
    return reduce(lambda a, b: a | b, [_applies(rule) for rule in accounts.rules_of(event)])


def _applies(rule: Rule) -> Any:
    tests = [sf.col(name) == _ENUMS[name](value).name.lower() for name, value in rule.where.items()]
    return reduce(lambda a, b: a & b, tests, sf.lit(True))


def _total(quantity: Sequence[tuple[str, int]]) -> Any:
    return reduce(lambda a, b: a + b, [sf.col(name) * sign for name, sign in quantity])


def floored(dividend: str, divisor: str) -> str:
    """SQL of the exact floor of a quotient of whole numbers, divisor positive.

    `div` would truncate towards zero and give a bigint; what is left here divides without a remainder.
    """
    whole, by = f"cast({dividend} as {EXACT})", f"cast({divisor} as {EXACT})"
    return f"cast(({whole} - pmod({whole}, {by})) / {by} as {EXACT})"


def figures(frame: Any, indicator: str, value: str = "value", item: str | None = None) -> Any:
    """Rows (window, indicator, item, value) of one indicator; `value` is an SQL expression."""
    return frame.select(
        sf.col("window").cast("int").alias("window"),
        sf.lit(indicator).alias("indicator"),
        (sf.lit(0) if item is None else sf.col(item)).cast("bigint").alias("item"),
        sf.expr(value).cast(EXACT).alias("value"),
    )


def every_window(session: Any, windows: int) -> Any:
    """(window) 0..windows-1."""
    return session.range(windows).select(sf.col("id").cast("int").alias("window"))

"""GraphQL's scalars and the figures of a window: what analysts read first. Every field states its unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NewType, TypeVar, cast

import strawberry
from strawberry.types.scalar import ScalarDefinition

from economy import measures
from economy.accounts import COMPONENTS, Approach
from economy.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def resolver(doc: str) -> Callable[[F], F]:
    """A field with a method of its own; strawberry.field as a decorator would take the method's type away."""
    return cast("Callable[[F], F]", strawberry.field(description=doc))


def subscription(doc: str) -> Callable[[F], F]:
    """The same for a subscription."""
    return cast("Callable[[F], F]", strawberry.subscription(description=doc))


BigInt = NewType("BigInt", int)
Money = NewType("Money", int)
JSON = NewType("JSON", str)

_LONGEST: Final = 20  # digits of an integer of 64 bits with its sign


def parse_integer(value: object) -> int:
    """An integer of 64 bits given as a number or as a decimal string. Raises InputError for anything else."""
    text = value.strip() if isinstance(value, str) else ""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif 0 < len(text) <= _LONGEST and text.isascii() and text.removeprefix("-").isdigit():
        number = int(text)
    if number is None or not -(2**63) <= number < 2**63:
        raise InputError("integer", value, 'write an integer of at most 64 bits, as 12 or "12"')
    return number


def _scalar(name: str, doc: str) -> ScalarDefinition:
    return strawberry.scalar(name=name, description=doc, serialize=str, parse_value=parse_integer)


SCALARS: Final[dict[object, ScalarDefinition]] = {
    BigInt: _scalar("BigInt", "An integer of any size as a decimal string: JSON's numbers lose digits beyond 2^53."),
    Money: _scalar("Money", "An exact amount of money: an integer of 1e-8 of the currency, as a decimal string."),
    JSON: strawberry.scalar(
        name="JSON", description="A JSON document as a string, exactly as recorded.", serialize=str
    ),
}


@strawberry.enum(description="Who computed a figure: the streaming projection, or a Spark job over closed offsets.")
class Source(Enum):
    """Where a series comes from."""

    STREAM = "stream"
    BATCH = "batch"


@strawberry.type(description="One figure computed twice, by independent programs over the same log.")
class MoneyFigure:
    """An amount from the stream and from the batch job."""

    stream: Money | None = strawberry.field(description="By the streaming projection; unit: 1e-8 of the currency")
    batch: Money | None = strawberry.field(description="By the Spark job; unit: 1e-8 of the currency")

    @resolver("Whether both are there and the same integer; null while one is missing")
    def equal(self) -> bool | None:
        return None if self.stream is None or self.batch is None else self.stream == self.batch


@strawberry.type(description="One ratio or count computed twice, by independent programs over the same log.")
class RatioFigure:
    """A ratio from the stream and from the batch job."""

    stream: BigInt | None = strawberry.field(description="By the streaming projection; unit: 1e-9 (counts: 1)")
    batch: BigInt | None = strawberry.field(description="By the Spark job; unit: 1e-9 (counts: 1)")

    @resolver("Whether both are there and the same integer; null while one is missing")
    def equal(self) -> bool | None:
        return None if self.stream is None or self.batch is None else self.stream == self.batch

    @resolver("The figure as a number for charts (stream, else batch); unit: 1")
    def value(self) -> float | None:
        known = self.stream if self.stream is not None else self.batch
        return None if known is None else known / 10**9


@strawberry.type(description="A component of GDP in one approach.")
class Component:
    """A summand of an approach."""

    name: str = strawberry.field(description="Name of the indicator")
    sign: int = strawberry.field(description="+1 where it is added, -1 where it is subtracted")
    amount: MoneyFigure = strawberry.field(description="The amount, before the sign")


@strawberry.type(description="GDP at market prices by one approach, from events of its own.")
class GdpApproach:
    """One way to GDP."""

    total: MoneyFigure = strawberry.field(description="GDP at market prices")
    components: list[Component] = strawberry.field(description="Its summands")


@strawberry.type(description="GDP of a window by three approaches that read different events.")
class Gdp:
    """GDP of one window."""

    production: GdpApproach = strawberry.field(description="Output - intermediate consumption + taxes on products")
    expenditure: GdpApproach = strawberry.field(description="Consumption + government + investment + inventories")
    income: GdpApproach = strawberry.field(description="Wages + taxes on products + gross operating surplus")
    real: MoneyFigure = strawberry.field(description="Expenditure at the prices of the run's start")

    @resolver("Whether every figure that is there, of both sources, is the same integer")
    def equal(self) -> bool | None:
        totals = (self.production.total, self.expenditure.total, self.income.total)
        known = [x for total in totals for x in (total.stream, total.batch) if x is not None]
        return None if len(known) < len(totals) else len(set(known)) == 1


Figures = Mapping[tuple[str, str], int]  # (source, indicator) -> value


@strawberry.type(description="One window of the national accounts: a quarter of simulated time.")
class Window:
    """All figures of a window that are one number each."""

    number: int = strawberry.field(description="Number of the window, from 0")
    figures: strawberry.Private[Figures]

    def _money(self, name: str) -> MoneyFigure:
        stream, batch = (self.figures.get((source, name)) for source in ("stream", "batch"))
        return MoneyFigure(
            stream=None if stream is None else Money(stream), batch=None if batch is None else Money(batch)
        )

    def _ratio(self, name: str) -> RatioFigure:
        stream, batch = (self.figures.get((source, name)) for source in ("stream", "batch"))
        return RatioFigure(
            stream=None if stream is None else BigInt(stream), batch=None if batch is None else BigInt(batch)
        )

    def _approach(self, approach: Approach) -> GdpApproach:
        parts = [Component(name=n, sign=s, amount=self._money(n)) for n, s in COMPONENTS[approach].items()]
        return GdpApproach(total=self._money(f"gdp_{approach}"), components=parts)

    @resolver("Simulated year, from 1; four windows make one")
    def year(self) -> int:
        return self.number // 4 + 1

    @resolver("Quarter of the year, 1..4")
    def quarter(self) -> int:
        return self.number % 4 + 1

    @resolver("Gross domestic product by three approaches")
    def gdp(self) -> Gdp:
        return Gdp(
            production=self._approach(Approach.PRODUCTION),
            expenditure=self._approach(Approach.EXPENDITURE),
            income=self._approach(Approach.INCOME),
            real=self._money("gdp_real"),
        )

    @resolver("Gini coefficient of households' disposable income; unit: 1e-9")
    def gini_income(self) -> RatioFigure:
        return self._ratio("gini_income")

    @resolver("Gini coefficient of households' net worth at the window's end; unit: 1e-9")
    def gini_wealth(self) -> RatioFigure:
        return self._ratio("gini_wealth")

    @resolver("Mean share of households without employment; unit: 1e-9")
    def unemployment(self) -> RatioFigure:
        return self._ratio("unemployment")

    @resolver("Consumer price index, basket of the start = 1; unit: 1e-9")
    def consumer_price_index(self) -> RatioFigure:
        return self._ratio("consumer_price_index")

    @resolver("Bonds owed by the government at the window's end")
    def government_debt(self) -> MoneyFigure:
        return self._money("government_debt")


@strawberry.type(description="An indicator: its name, its unit, what it measures.")
class Measure:
    """An entry of the catalogue of indicators."""

    name: str = strawberry.field(description="Name, as used in series")
    unit: str = strawberry.field(description="Unit of its integer values")
    description: str = strawberry.field(description="What it measures")
    item: str = strawberry.field(description="What its items are; empty = one figure per window")


@strawberry.type(description="An indicator over time as columns: windows[i] belongs to values[i].")
class Series:
    """One indicator, one item, one source."""

    measure: Measure = strawberry.field(description="What is measured, and its unit")
    item: BigInt = strawberry.field(description="Instrument or other item, see measure.item; else 0")
    source: Source = strawberry.field(description="Who computed it")
    windows: list[int] = strawberry.field(description="Numbers of the windows, ascending")
    values: list[BigInt] = strawberry.field(description="Values in the measure's unit")


CATALOGUE: Final[Mapping[str, Measure]] = {
    m.name: Measure(name=m.name, unit=m.unit, description=m.doc, item=m.item) for m in measures.MEASURES
}
WINDOW_FIGURES: Final = tuple(m.name for m in measures.MEASURES if not m.item)


def check_names(names: list[str]) -> list[str]:
    """The names, when each is an indicator. Raises InputError naming the first that is not."""
    for name in names:
        if name not in CATALOGUE:
            raise InputError("names", name, f"known are {', '.join(CATALOGUE)}")
    return names

"""GraphQL's scalars and the figures of a window: what analysts read first. Every field states its unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NewType, TypeVar, cast

import strawberry
from strawberry.types.scalar import ScalarDefinition

from economy import measures
from economy.accounts import COMPONENTS, Approach
from economy.errors import InputError
from economy.numbers.decimals import Fault, count, exact
from economy.numbers.units import MONEY_SCALE

F = TypeVar("F", bound=Callable[..., Any])


def resolver(doc: str) -> Callable[[F], F]:
    """A field with a method of its own; strawberry.field as a decorator would take the method's type away."""
    return cast("Callable[[F], F]", strawberry.field(description=doc))


def subscription(doc: str) -> Callable[[F], F]:
    """The same for a subscription."""
    return cast("Callable[[F], F]", strawberry.subscription(description=doc))


BigInt = NewType("BigInt", int)
DecimalText = NewType("DecimalText", str)
JSON = NewType("JSON", str)

_LONGEST: Final = 20  # digits of an integer of 64 bits with its sign
_MOST: Final = exact(2**63 - 1)
_XSD_DECIMAL: Final = "https://www.w3.org/TR/xmlschema11-2/#decimal"  # whose canonical form is ours


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


def parse_decimal(value: object) -> str:
    """A decimal as a text, as fields give it, or a whole number. Raises InputError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    fault = count(value)[1] if isinstance(value, str) else Fault.NOT_A_DECIMAL
    if not isinstance(value, str) or fault in (Fault.MISSING, Fault.NOT_A_DECIMAL):
        raise InputError("decimal", value, 'write it as a text, as "12.5": a float is no exact amount')
    return value


def money_count(field: str, text: str) -> int:
    """The integer of 1e-8 of an amount in the currency. Raises InputError naming the field."""
    amount, fault = count(text)
    if fault == Fault.TOO_FINE:
        raise InputError(field, text, f"write at most {MONEY_SCALE} decimals: money is counted in 1e-8")
    if fault or not -(2**63) <= amount < 2**63:
        raise InputError(field, text, f"write a decimal from -{_MOST} to {_MOST}")
    return amount


SCALARS: Final[dict[object, ScalarDefinition]] = {
    BigInt: strawberry.scalar(
        name="BigInt", serialize=str, parse_value=parse_integer,
        description="An integer of any size as a decimal string: JSON's numbers lose digits beyond 2^53.",
    ),
    DecimalText: strawberry.scalar(
        name="Decimal", serialize=str, parse_value=parse_decimal, specified_by_url=_XSD_DECIMAL,
        description="An exact decimal as a string, in canonical form: no exponent, no zeros behind the last digit that "
        "counts, no point behind a whole number. The integer that it stands for is in the field of the same name with "
        "Raw behind it.",
    ),
    JSON: strawberry.scalar(
        name="JSON", description="A JSON document as a string, exactly as recorded.", serialize=str
    ),
}  # fmt: skip


@strawberry.enum(description="Who computed a figure: the streaming projection, or a Spark job over closed offsets.")
class Source(Enum):
    """Where a series comes from."""

    STREAM = "stream"
    BATCH = "batch"


@strawberry.type(
    description="One figure computed twice, by independent programs over the same log, in the unit of its measure: "
    "money in the currency, ratios as they are."
)
class Figure:
    """A figure from the stream and from the batch job."""

    stream_raw: BigInt | None = strawberry.field(description="`stream` as an integer; unit: the measure's rawUnit")
    batch_raw: BigInt | None = strawberry.field(description="`batch` as an integer; unit: the measure's rawUnit")
    scale: strawberry.Private[int]

    @resolver("By the streaming projection; unit: the measure's")
    def stream(self) -> DecimalText | None:
        return exact_or_none(self.stream_raw, self.scale)

    @resolver("By the Spark job; unit: the measure's")
    def batch(self) -> DecimalText | None:
        return exact_or_none(self.batch_raw, self.scale)

    @resolver("Whether both are there and the same integer; null while one is missing")
    def equal(self) -> bool | None:
        return None if self.stream_raw is None or self.batch_raw is None else self.stream_raw == self.batch_raw

    @resolver("The figure as a float for charts (stream, else batch); unit: the measure's")
    def value(self) -> float | None:
        known = self.stream_raw if self.stream_raw is not None else self.batch_raw
        return None if known is None else known / 10**self.scale


def exact_or_none(value: int | None, scale: int = MONEY_SCALE) -> DecimalText | None:
    """A count as GraphQL gives it; null where there is none."""
    return None if value is None else DecimalText(exact(value, scale))


def both(name: str, value: int | str | None, scale: int = MONEY_SCALE) -> dict[str, Any]:
    """The arguments of a decimal field and of its integer beside it."""
    raw = None if value is None else BigInt(int(value))
    return {name: exact_or_none(raw, scale), f"{name}_raw": raw}


@strawberry.type(description="A component of GDP in one approach.")
class Component:
    """A summand of an approach."""

    name: str = strawberry.field(description="Name of the indicator")
    sign: int = strawberry.field(description="+1 where it is added, -1 where it is subtracted")
    amount: Figure = strawberry.field(description="The amount, before the sign")


@strawberry.type(description="GDP at market prices by one approach, from events of its own.")
class GdpApproach:
    """One way to GDP."""

    total: Figure = strawberry.field(description="GDP at market prices")
    components: list[Component] = strawberry.field(description="Its summands")


@strawberry.type(description="GDP of a window by three approaches that read different events.")
class Gdp:
    """GDP of one window."""

    production: GdpApproach = strawberry.field(description="Output - intermediate consumption + taxes on products")
    expenditure: GdpApproach = strawberry.field(description="Consumption + government + investment + inventories")
    income: GdpApproach = strawberry.field(description="Wages + taxes on products + gross operating surplus")
    real: Figure = strawberry.field(description="Expenditure at the prices of the run's start")

    @resolver("Whether every figure that is there, of both sources, is the same integer")
    def equal(self) -> bool | None:
        totals = (self.production.total, self.expenditure.total, self.income.total)
        known = [x for total in totals for x in (total.stream_raw, total.batch_raw) if x is not None]
        return None if len(known) < len(totals) else len(set(known)) == 1


Figures = Mapping[tuple[str, str], int]  # (source, indicator) -> value


@strawberry.type(description="One window of the national accounts: a quarter of simulated time.")
class Window:
    """All figures of a window that are one number each."""

    number: int = strawberry.field(description="Number of the window, from 0")
    figures: strawberry.Private[Figures]

    def _figure(self, name: str) -> Figure:
        stream, batch = (self.figures.get((source, name)) for source in ("stream", "batch"))
        return Figure(
            stream_raw=None if stream is None else BigInt(stream), batch_raw=None if batch is None else BigInt(batch),
            scale=measures.MEASURE[name].scale,
        )  # fmt: skip

    def _approach(self, approach: Approach) -> GdpApproach:
        parts = [Component(name=n, sign=s, amount=self._figure(n)) for n, s in COMPONENTS[approach].items()]
        return GdpApproach(total=self._figure(f"gdp_{approach}"), components=parts)

    @resolver("Simulated year, from 1; four windows make one")
    def year(self) -> int:
        return self.number // 4 + 1

    @resolver("Quarter of the year, 1..4")
    def quarter(self) -> int:
        return self.number % 4 + 1

    @resolver("Gross domestic product by three approaches; unit: the currency")
    def gdp(self) -> Gdp:
        return Gdp(
            production=self._approach(Approach.PRODUCTION),
            expenditure=self._approach(Approach.EXPENDITURE),
            income=self._approach(Approach.INCOME),
            real=self._figure("gdp_real"),
        )

    @resolver("Gini coefficient of households' disposable income; unit: 1")
    def gini_income(self) -> Figure:
        return self._figure("gini_income")

    @resolver("Gini coefficient of households' net worth at the window's end; unit: 1")
    def gini_wealth(self) -> Figure:
        return self._figure("gini_wealth")

    @resolver("Mean share of households without employment; unit: 1")
    def unemployment(self) -> Figure:
        return self._figure("unemployment")

    @resolver("Consumer price index, basket of the start = 1; unit: 1")
    def consumer_price_index(self) -> Figure:
        return self._figure("consumer_price_index")

    @resolver("Bonds owed by the government at the window's end; unit: the currency")
    def government_debt(self) -> Figure:
        return self._figure("government_debt")


@strawberry.type(description="An indicator: its name, its unit, what it measures.")
class Measure:
    """An entry of the catalogue of indicators."""

    name: str = strawberry.field(description="Name, as used in series")
    unit: str = strawberry.field(description="Unit of its values: currency, 1 (ratios and counts) or the instrument's")
    raw_unit: str = strawberry.field(description="Unit of its integers, as the tables hold them")
    scale: int | None = strawberry.field(
        description="Decimals: values are integers of 10^-scale; null: those of the instrument's quantities"
    )
    description: str = strawberry.field(description="What it measures")
    item: str = strawberry.field(description="What its items are; empty = one figure per window")


@strawberry.type(description="An indicator over time as columns: windows[i] belongs to values[i].")
class Series:
    """One indicator, one item, one source."""

    measure: Measure = strawberry.field(description="What is measured, and its unit")
    item: BigInt = strawberry.field(description="Instrument or other item, see measure.item; else 0")
    source: Source = strawberry.field(description="Who computed it")
    windows: list[int] = strawberry.field(description="Numbers of the windows, ascending")
    values_raw: list[BigInt] = strawberry.field(description="Values as integers; unit: the measure's rawUnit")
    scale: strawberry.Private[int]

    @resolver("Values; unit: the measure's")
    def values(self) -> list[DecimalText]:
        return exact_all(self.values_raw, self.scale)


def exact_all(values: Sequence[int], scale: int) -> list[DecimalText]:
    """A column of counts as GraphQL gives it."""
    return [DecimalText(exact(value, scale)) for value in values]


CATALOGUE: Final[Mapping[str, Measure]] = {
    m.name: Measure(
        name=m.name, unit=m.decimal_unit, raw_unit=m.unit, scale=None if m.unit == measures.LOTS else m.scale,
        description=m.doc, item=m.item,
    )
    for m in measures.MEASURES
}  # fmt: skip
WINDOW_FIGURES: Final = tuple(m.name for m in measures.MEASURES if not m.item)


def check_names(names: list[str]) -> list[str]:
    """The names, when each is an indicator. Raises InputError naming the first that is not."""
    for name in names:
        if name not in CATALOGUE:
            raise InputError("names", name, f"known are {', '.join(CATALOGUE)}")
    return names

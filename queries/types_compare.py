"""Two runs beside each other: what was set otherwise, where they part, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, cast

import strawberry

from economy.errors import InputError
from queries.cache import Fingerprint
from queries.measured import scales_of, series_of
from queries.paging import Info
from queries.types import CATALOGUE, JSON, BigInt, DecimalText, Measure, Source, both, check_names, exact_all, resolver
from queries.types_events import Event, columns_of
from queries.types_market import Agent, agent_of
from queries.types_run import WINDOWS, Run
from schemas.clickhouse import TABLES, Table

_COST: Final = 2_000  # rows that the search for the first difference counts for
_SHOWN: Final = 10  # records of each run at the tick where they part
MOVERS: Final = 500
# What agents do and what comes of it. A record differs when it has no equal in the other run.
_COMPARED: Final = ("AgentDecided", "OrderSubmitted", "TradeExecuted", "MoneyTransferred")
_ASIDE: Final = frozenset({"run", "kafka_partition", "kafka_offset"})


@strawberry.type(description="A parameter of the scenario that the two runs have set otherwise.")
class ParameterDifference:
    """A parameter."""

    path: str = strawberry.field(description="Its place in the scenario, as government.vat_rate")
    a: JSON | None = strawberry.field(description="Value in run a; null where it has none")
    b: JSON | None = strawberry.field(description="Value in run b; null where it has none")


@strawberry.type(description="An indicator in both runs as columns: windows[i] belongs to a[i], b[i], difference[i].")
class SeriesPair:
    """One indicator and item in the windows that both runs have."""

    measure: Measure = strawberry.field(description="What is measured, and its unit")
    item: BigInt = strawberry.field(description="Instrument or other item, see measure.item; else 0")
    windows: list[int] = strawberry.field(description="Numbers of the windows, ascending")
    a_raw: list[BigInt] = strawberry.field(description="`a` as integers; unit: the measure's rawUnit")
    b_raw: list[BigInt] = strawberry.field(description="`b` as integers; unit: the measure's rawUnit")
    difference_raw: list[BigInt] = strawberry.field(description="`difference` as integers; unit: the measure's rawUnit")
    scale: strawberry.Private[int]

    @resolver("Values of run a; unit: the measure's")
    def a(self) -> list[DecimalText]:
        return exact_all(self.a_raw, self.scale)

    @resolver("Values of run b; unit: the measure's")
    def b(self) -> list[DecimalText]:
        return exact_all(self.b_raw, self.scale)

    @resolver("b - a; unit: the measure's")
    def difference(self) -> list[DecimalText]:
        return exact_all(self.difference_raw, self.scale)


@strawberry.type(description="Where two runs part: the first tick at which their records differ.")
class Divergence:
    """The first difference among decisions, orders, trades and payments."""

    tick: BigInt = strawberry.field(description="Simulated time; unit: ticks")
    a: list[Event] = strawberry.field(description="Records of run a at that tick without an equal in b, at most 10")
    b: list[Event] = strawberry.field(description="Records of run b at that tick without an equal in a, at most 10")


@strawberry.type(description="An agent that fared differently.")
class Mover:
    """Deposits of an agent in both runs."""

    agent_id: BigInt = strawberry.field(description="Number of the agent")
    a: DecimalText = strawberry.field(description="Deposits in run a; unit: the currency")
    a_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    b: DecimalText = strawberry.field(description="Deposits in run b; unit: the currency")
    b_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    difference: DecimalText = strawberry.field(description="b - a; unit: the currency")
    difference_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    run: strawberry.Private[int]

    @resolver("The agent, as of run a")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, int(self.agent_id))


def _content(table: Table) -> str:
    """What two records are compared by; columns of the table, which a name alone would not mean beside an alias."""
    return ", ".join(f"{table.name}.`{name}`" for name in table.names if name not in _ASIDE)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a document that is no object."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value


@strawberry.type(description="Run b against run a. With a the parent and b its fork, the difference is the effect.")
class Comparison:
    """Two runs."""

    a: Run = strawberry.field(description="The run that is compared with")
    b: Run = strawberry.field(description="The run that is compared")
    prints: strawberry.Private[tuple[Fingerprint, Fingerprint]]

    @resolver("Whether all their events are the same; null while one has not ended")
    def same(self) -> bool | None:
        one, other = self.prints
        return one.digest == other.digest if one.digest and other.digest else None

    @resolver("Parameters of the scenario that differ, by place")
    def parameters(self) -> list[ParameterDifference]:
        first, second = (dict(_leaves(json.loads(run.row["config"] or "{}"))) for run in (self.a, self.b))
        return [
            ParameterDifference(
                path=path,
                a=JSON(json.dumps(first[path])) if path in first else None,
                b=JSON(json.dumps(second[path])) if path in second else None,
            )
            for path in sorted(first.keys() | second.keys())
            if path not in first or path not in second or first[path] != second[path]
        ]

    @resolver("Indicators of both runs in the windows that both have")
    async def indicators(self, info: Info, names: list[str], source: Source = Source.STREAM) -> list[SeriesPair]:
        if not 1 <= len(names) <= len(CATALOGUE):
            raise InputError("names", names, "name at least one indicator, each once")
        info.context.spend(2 * WINDOWS)
        wanted, loaders = sorted(set(check_names(names))), info.context.loaders
        one, other = [await series_of(loaders, int(run.id), wanted, source.value) for run in (self.a, self.b)]
        scales, others = [
            await scales_of(loaders, int(run.id), found) for run, found in ((self.a, one), (self.b, other))
        ]
        for key in scales.keys() & others.keys():
            if scales[key] != others[key]:
                raise InputError(
                    "names", key[0], f"instrument {key[1]} has other decimals in b: ask for each run's own"
                )
        found = []
        for name in wanted:
            known = {item: dict(zip(windows, values, strict=True)) for item, windows, values in other[name]}
            for item, windows, values in one[name]:
                second = known.get(item, {})
                common = [(w, a, second[w]) for w, a in zip(windows, values, strict=True) if w in second]
                found.append(
                    SeriesPair(
                        measure=CATALOGUE[name], item=BigInt(item), windows=[w for w, _, _ in common],
                        a_raw=cast("list[BigInt]", [a for _, a, _ in common]),
                        b_raw=cast("list[BigInt]", [b for _, _, b in common]),
                        difference_raw=cast("list[BigInt]", [b - a for _, a, b in common]), scale=scales[name, item],
                    )
                )  # fmt: skip
        return found

    @resolver("The first window of both in which an indicator of the stream differs; null when none does")
    async def first_window(self, info: Info) -> int | None:
        info.context.spend(_COST)
        rows = await info.context.loaders.rows(
            "SELECT count() AS number, min(window) AS first FROM (SELECT window FROM (SELECT run, window, indicator, "
            "item, value FROM stream_indicators FINAL WHERE run IN ({a:Int64}, {b:Int64})) "
            "GROUP BY window, indicator, item HAVING uniqExact(value) > 1)",
            a=int(self.a.id), b=int(self.b.id),
        )  # fmt: skip
        return int(rows[0]["first"]) if int(rows[0]["number"]) else None

    @resolver("Where they part, with the records on both sides; null when they do not")
    async def divergence(self, info: Info) -> Divergence | None:
        info.context.spend(_COST)
        start = self._own_from()
        ticks = [tick for name in _COMPARED if (tick := await self._parted(info, name, start)) is not None]
        if not ticks:
            return None
        tick = min(ticks)
        a: list[Event] = []
        b: list[Event] = []
        for name in _COMPARED:
            for events, mine, other in ((a, self.a, self.b), (b, self.b, self.a)):
                events += await self._only(info, name, tick, int(mine.id), int(other.id))
        return Divergence(tick=BigInt(tick), a=a[:_SHOWN], b=b[:_SHOWN])

    def _own_from(self) -> int:
        """The tick from which both have records of their own: a fork shares all before by reference."""
        one, other = (run.row for run in (self.a, self.b))
        forks = [
            run for run, opposite in ((one, other), (other, one))
            if int(run["parent"]) and int(run["parent"]) in (int(opposite["run"]), int(opposite["parent"]))
        ]  # fmt: skip
        return max(((int(run["parent_epoch"]) + 1) * int(run["epoch_ticks"]) for run in forks), default=0)

    async def _parted(self, info: Info, name: str, start: int) -> int | None:
        table = TABLES[name]
        content = _content(table)
        rows = await info.context.loaders.rows(
            "SELECT count() AS number, min(tick) AS first FROM (SELECT tick FROM (SELECT run, tick, "
            f"cityHash64({content}) AS content FROM {table.name} FINAL WHERE run IN ({{a:Int64}}, {{b:Int64}}) "
            "AND tick >= {start:Int64}) GROUP BY tick "
            "HAVING sumIf(content, run = {a:Int64}) != sumIf(content, run = {b:Int64}))",
            a=int(self.a.id), b=int(self.b.id), start=start,
        )  # fmt: skip
        return int(rows[0]["first"]) if int(rows[0]["number"]) else None

    async def _only(self, info: Info, name: str, tick: int, run: int, other: int) -> list[Event]:
        table = TABLES[name]
        content = _content(table)
        rows = await info.context.loaders.rows(
            f"SELECT {columns_of(table)} FROM {table.name} FINAL WHERE {table.name}.run = {{run:Int64}} "
            f"AND {table.name}.tick = {{tick:Int64}} AND cityHash64({content}) NOT IN (SELECT cityHash64({content}) "
            f"FROM {table.name} FINAL WHERE run = {{other:Int64}} AND tick = {{tick:Int64}}) "
            f"ORDER BY {', '.join(f'{table.name}.{key}' for key in table.identity)} LIMIT {_SHOWN}",
            run=run, other=other, tick=tick,
        )  # fmt: skip
        return [Event.of(table, row) for row in rows]

    @resolver("Agents whose deposits at the end of a window differ most, by how much; who gained and who lost")
    async def movers(self, info: Info, window: int, first: int = 10) -> list[Mover]:
        if not 1 <= first <= MOVERS:
            raise InputError("first", first, f"ask for 1 to {MOVERS} agents")
        info.context.spend(first)
        rows = await info.context.loaders.rows(
            "SELECT agent, sumIf(quantity, run = {a:Int64}) AS a, sumIf(quantity, run = {b:Int64}) AS b "
            "FROM balance_recorded FINAL WHERE run IN ({a:Int64}, {b:Int64}) AND window = {window:Int64} "
            "AND account = 'cash' GROUP BY agent HAVING a != b ORDER BY abs(b - a) DESC, agent LIMIT {first:UInt32}",
            a=int(self.a.id), b=int(self.b.id), window=window, first=first,
        )  # fmt: skip
        return [
            Mover(
                agent_id=BigInt(int(row["agent"])), run=int(self.a.id), **both("a", row["a"]), **both("b", row["b"]),
                **both("difference", int(row["b"]) - int(row["a"])),
            )
            for row in rows
        ]  # fmt: skip

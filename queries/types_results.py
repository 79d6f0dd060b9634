"""Results of the Spark jobs with tables of their own: liquidity, price stability, performance, reconciliation."""

from __future__ import annotations

from typing import Any, Final

import strawberry

from queries.paging import Connection, Info, connect, named, page_of, page_size
from queries.records import Row
from queries.types import BigInt, Money, resolver
from queries.types_market import Agent, Instrument, agent_of, instrument_of


def _integer(value: Any) -> BigInt | None:
    return None if value is None else BigInt(int(value))


def _texts(*names: str) -> str:
    """Columns beyond an int64, as text that loses no digit; null stays null."""
    return ", ".join(f"toString({name}) AS {name}" for name in names)


@strawberry.type(description="Liquidity of an instrument in a window, by the Spark job; docs/spark.md defines it.")
class Liquidity:
    """A row of `liquidity`."""

    window: int = strawberry.field(description="Number of the window")
    instrument_id: BigInt = strawberry.field(description="Instrument")
    trades: BigInt = strawberry.field(description="Trades; unit: trades")
    traded_quantity: BigInt = strawberry.field(description="Quantity traded; unit: lots")
    traded_value: Money = strawberry.field(description="Notional of the trades; unit: 1e-8 of the currency")
    quoted_epochs: BigInt = strawberry.field(description="Epochs at whose end both sides were quoted; unit: epochs")
    quoted_spread: BigInt | None = strawberry.field(
        description="Mean quoted spread over the mid price, null without two-sided quotes; unit: 1e-9"
    )
    best_bid_depth: BigInt = strawberry.field(description="Mean quantity at the best bid; unit: lots")
    best_ask_depth: BigInt = strawberry.field(description="Mean quantity at the best ask; unit: lots")
    bid_depth: BigInt = strawberry.field(description="Mean quantity of all bids; unit: lots")
    ask_depth: BigInt = strawberry.field(description="Mean quantity of all asks; unit: lots")
    illiquidity: BigInt | None = strawberry.field(
        description="Amihud: mean absolute return of a round per million of the currency traded; unit: 1e-9"
    )
    price_impact: BigInt | None = strawberry.field(
        description="Kyle: price change of a round per lot of order flow; unit: 1e-9 price steps per lot"
    )
    run: strawberry.Private[int]

    @resolver("The instrument")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @classmethod
    def of(cls, row: Row) -> Liquidity:
        """From a row of the table."""
        numbers: dict[str, Any] = {name: _integer(row[name]) for name in (*_COUNTS, *_LOTS, *_RATIOS)}
        made: dict[str, Any] = {"traded_value": Money(int(row["traded_value"])), "run": int(row["run"])}
        return cls(window=int(row["window"]), instrument_id=BigInt(int(row["instrument"])), **numbers, **made)


_COUNTS: Final = ("trades", "quoted_epochs")
_LOTS: Final = ("traded_quantity", "best_bid_depth", "best_ask_depth", "bid_depth", "ask_depth")
_RATIOS: Final = ("quoted_spread", "illiquidity", "price_impact")


@strawberry.type(description="Stability of an instrument's price over a window, by the Spark job.")
class PriceStability:
    """A row of `price_stability`."""

    window: int = strawberry.field(description="Number of the window")
    instrument_id: BigInt = strawberry.field(description="Instrument")
    opening_price: BigInt = strawberry.field(description="Valuation price at the start; unit: price steps")
    closing_price: BigInt = strawberry.field(description="Valuation price at the end; unit: price steps")
    inflation: BigInt = strawberry.field(description="Change from opening to closing price; unit: 1e-9")
    realised_volatility: BigInt = strawberry.field(
        description="Root of the sum of squared returns of the rounds, per window; unit: 1e-9"
    )
    max_drawdown: BigInt = strawberry.field(description="Largest fall from the highest price so far; unit: 1e-9")
    run: strawberry.Private[int]

    @resolver("The instrument")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @classmethod
    def of(cls, row: Row) -> PriceStability:
        """From a row of the table."""
        numbers: dict[str, Any] = {name: BigInt(int(row[name])) for name in _STABILITY}
        return cls(
            window=int(row["window"]), instrument_id=BigInt(int(row["instrument"])), run=int(row["run"]), **numbers
        )


_STABILITY: Final = ("opening_price", "closing_price", "inflation", "realised_volatility", "max_drawdown")


@strawberry.type(description="How an agent fared in a window, by the Spark job.")
class AgentPerformance:
    """A row of `agent_performance`."""

    window: int = strawberry.field(description="Number of the window")
    agent_id: BigInt = strawberry.field(description="Agent")
    role: str = strawberry.field(description="Role of the agent")
    net_worth: Money = strawberry.field(
        description="Assets less debts at the end, of a corporation its own funds; unit: 1e-8 of the currency"
    )
    change: Money = strawberry.field(description="Change of net worth in the window; unit: 1e-8 of the currency")
    growth: BigInt | None = strawberry.field(
        description="Change over the net worth before, null where that was not positive; unit: 1e-9"
    )
    trades: BigInt = strawberry.field(description="Trades as buyer or seller; unit: trades")
    bought: Money = strawberry.field(description="Notional of purchases, without tax; unit: 1e-8 of the currency")
    sold: Money = strawberry.field(description="Notional of sales; unit: 1e-8 of the currency")
    run: strawberry.Private[int]

    @resolver("The agent")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @classmethod
    def of(cls, row: Row) -> AgentPerformance:
        """From a row of the table."""
        amounts = {name: Money(int(row[name])) for name in ("net_worth", "change", "bought", "sold")}
        return cls(
            window=int(row["window"]), agent_id=BigInt(int(row["agent"])), role=row["role"], run=int(row["run"]),
            growth=_integer(row["growth"]), trades=BigInt(int(row["trades"])), **amounts,
        )  # fmt: skip


@strawberry.type(description="How all agents of a role fared in a window.")
class RolePerformance:
    """Sums over the agents of a role."""

    window: int = strawberry.field(description="Number of the window")
    role: str = strawberry.field(description="Role")
    agents: int = strawberry.field(description="Number of agents; unit: agents")
    net_worth: Money = strawberry.field(description="Sum of their net worths; unit: 1e-8 of the currency")
    median_net_worth: Money = strawberry.field(
        description="Lower median of their net worths; unit: 1e-8 of the currency"
    )
    change: Money = strawberry.field(description="Sum of the changes; unit: 1e-8 of the currency")
    trades: BigInt = strawberry.field(description="Sides of trades; unit: trades")
    bought: Money = strawberry.field(description="Notional of purchases, without tax; unit: 1e-8 of the currency")
    sold: Money = strawberry.field(description="Notional of sales; unit: 1e-8 of the currency")


@strawberry.type(description="A figure on which stream and batch do not agree.")
class Disagreement:
    """A row of `reconciliation`."""

    window: int = strawberry.field(description="Number of the window")
    indicator: str = strawberry.field(description="Name of the indicator")
    item: BigInt = strawberry.field(description="Instrument or other item of the indicator, else 0")
    stream: BigInt | None = strawberry.field(description="By the stream, null where missing; unit: the indicator's")
    batch: BigInt | None = strawberry.field(description="By the batch, null where missing; unit: the indicator's")


@strawberry.type(description="Stream against batch over all indicators and windows.")
class Reconciliation:
    """What the job `reconcile` found."""

    figures: BigInt = strawberry.field(description="Figures compared; unit: figures")
    equal: BigInt = strawberry.field(description="Figures that are the same integer on both sides; unit: figures")
    disagreements: list[Disagreement] = strawberry.field(description="The first 100 others, by window and indicator")


@strawberry.type
class JobResults:
    """What a run has of the jobs' results: part of the type Run."""

    id: BigInt = strawberry.field(description="Number of the run")

    @resolver("Liquidity in the order of (window, instrument); empty until the job has run")
    async def liquidity(
        self, info: Info, first: int = 100, after: str | None = None, window: int | None = None,
        instrument: BigInt | None = None,
    ) -> Connection[Liquidity]:  # fmt: skip
        size, keys = page_size(info, first), ("window", "instrument")
        columns = f"run, window, instrument, trades, quoted_epochs, {_texts('traded_value', *_LOTS, *_RATIOS)}"
        only = {"window": window, "instrument": instrument}
        rows = await page_of(info, self.id, "liquidity", columns, keys, size, after, only, repeats=False)
        return connect(rows, size, after, keys, Liquidity.of)

    @resolver("Stability of prices in the order of (window, instrument); empty until the job has run")
    async def price_stability(
        self, info: Info, first: int = 100, after: str | None = None, window: int | None = None,
        instrument: BigInt | None = None,
    ) -> Connection[PriceStability]:  # fmt: skip
        size, keys = page_size(info, first), ("window", "instrument")
        columns = f"run, window, instrument, {_texts(*_STABILITY)}"
        only = {"window": window, "instrument": instrument}
        rows = await page_of(info, self.id, "price_stability", columns, keys, size, after, only, repeats=False)
        return connect(rows, size, after, keys, PriceStability.of)

    @resolver("Performance of agents in the order of (window, agent); empty until the job has run")
    async def agent_performance(
        self, info: Info, first: int = 100, after: str | None = None, window: int | None = None,
        agent: BigInt | None = None, role: str | None = None,
    ) -> Connection[AgentPerformance]:  # fmt: skip
        size, keys = page_size(info, first), ("window", "agent")
        amounts = _texts("net_worth", "change", "growth", "bought", "sold")
        columns = f"run, window, agent, toString(role) AS role, trades, {amounts}"
        only = {"window": window, "agent": agent, "toString(agent_performance.role)": role}
        rows = await page_of(info, self.id, "agent_performance", columns, keys, size, after, only, repeats=False)
        if not rows:
            named("AgentFounded", "role", role)  # the column is a text: it may hold roles that this version has not
        return connect(rows, size, after, keys, AgentPerformance.of)

    @resolver("Performance of all agents of each role in a window; empty until the job has run")
    async def role_performance(self, info: Info, window: int) -> list[RolePerformance]:
        info.context.spend(10)
        amounts = ("net_worth", "change", "bought", "sold")
        rows = await info.context.loaders.rows(
            "SELECT window, toString(p.role) AS role, count() AS agents, toInt64(sum(p.trades)) AS trades, "
            + ", ".join(f"toString(sum(p.{name})) AS {name}" for name in amounts)
            + ", toString(quantileExactLow(p.net_worth)) AS median_net_worth FROM agent_performance AS p "
            "WHERE run = {run:Int64} AND window = {window:Int32} GROUP BY window, p.role ORDER BY role",
            run=int(self.id), window=window,
        )  # fmt: skip
        return [
            RolePerformance(
                window=int(row["window"]), role=row["role"], agents=int(row["agents"]),
                trades=BigInt(int(row["trades"])),
                **{name: Money(int(row[name])) for name in (*amounts, "median_net_worth")},
            )
            for row in rows
        ]  # fmt: skip

    @resolver("Stream against batch; null until the job `reconcile` has run")
    async def reconciliation(self, info: Info) -> Reconciliation | None:
        info.context.spend(100)
        counts = await info.context.loaders.rows(
            "SELECT count() AS figures, countIf(equal = 1) AS equal_figures FROM reconciliation "
            "WHERE run = {run:Int64}",
            run=int(self.id),
        )
        if int(counts[0]["figures"]) == 0:
            return None
        rows = await info.context.loaders.rows(
            "SELECT window, toString(indicator) AS name, item, toString(stream) AS stream_value, "
            "toString(batch) AS batch_value FROM reconciliation WHERE run = {run:Int64} AND equal = 0 "
            "ORDER BY window, indicator, item LIMIT 100",
            run=int(self.id),
        )
        return Reconciliation(
            figures=BigInt(int(counts[0]["figures"])), equal=BigInt(int(counts[0]["equal_figures"])),
            disagreements=[
                Disagreement(
                    window=int(row["window"]), indicator=row["name"], item=BigInt(int(row["item"])),
                    stream=_integer(row["stream_value"]), batch=_integer(row["batch_value"]),
                )
                for row in rows
            ],
        )  # fmt: skip

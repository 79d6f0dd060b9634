"""Results of the Spark jobs with tables of their own: liquidity, price stability, performance, reconciliation."""

from __future__ import annotations

from typing import Any, Final

import strawberry

from economy.scales import NO_LISTINGS, RESULTS, Scales
from queries.paging import Connection, Info, connect, named, page_of, page_size
from queries.records import Row
from queries.types import BigInt, DecimalText, both, resolver
from queries.types_market import Agent, Instrument, agent_of, instrument_of


def _numbers(table: str, row: Row, scales: Scales) -> dict[str, Any]:
    """Arguments for the decimal fields of a row and their integers."""
    places = scales.result(table, row)
    return {key: value for name, scale in places.items() for key, value in both(name, row[name], scale).items()}


def _texts(*names: str) -> str:
    """Columns beyond an int64, as text that loses no digit; null stays null."""
    return ", ".join(f"toString({name}) AS {name}" for name in names)


@strawberry.type(description="Liquidity of an instrument in a window, by the Spark job; docs/spark.md defines it.")
class Liquidity:
    """A row of `liquidity`."""

    window: int = strawberry.field(description="Number of the window")
    instrument_id: BigInt = strawberry.field(description="Instrument")
    trades: BigInt = strawberry.field(description="Trades; unit: trades")
    traded_quantity: DecimalText = strawberry.field(description="Quantity traded; unit: the instrument's")
    traded_quantity_raw: BigInt = strawberry.field(description="The same as an integer; unit: lots (10^-quantityScale)")
    traded_value: DecimalText = strawberry.field(description="Notional of the trades; unit: the currency")
    traded_value_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    quoted_epochs: BigInt = strawberry.field(description="Epochs at whose end both sides were quoted; unit: epochs")
    quoted_spread: DecimalText | None = strawberry.field(
        description="Mean quoted spread over the mid price, null without two-sided quotes; unit: 1"
    )
    quoted_spread_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: 1e-9")
    best_bid_depth: DecimalText = strawberry.field(description="Mean quantity at the best bid; unit: the instrument's")
    best_bid_depth_raw: BigInt = strawberry.field(description="The same as an integer; unit: lots (10^-quantityScale)")
    best_ask_depth: DecimalText = strawberry.field(description="Mean quantity at the best ask; unit: the instrument's")
    best_ask_depth_raw: BigInt = strawberry.field(description="The same as an integer; unit: lots (10^-quantityScale)")
    bid_depth: DecimalText = strawberry.field(description="Mean quantity of all bids; unit: the instrument's")
    bid_depth_raw: BigInt = strawberry.field(description="The same as an integer; unit: lots (10^-quantityScale)")
    ask_depth: DecimalText = strawberry.field(description="Mean quantity of all asks; unit: the instrument's")
    ask_depth_raw: BigInt = strawberry.field(description="The same as an integer; unit: lots (10^-quantityScale)")
    illiquidity: DecimalText | None = strawberry.field(
        description="Amihud: mean absolute return of a round per million of the currency traded; unit: 1"
    )
    illiquidity_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: 1e-9")
    price_impact: DecimalText | None = strawberry.field(
        description="Kyle: price change of a round per unit of order flow; unit: the currency per instrument's unit"
    )
    price_impact_raw: BigInt | None = strawberry.field(
        description="The same as an integer; unit: 1e-9 price steps per lot"
    )
    run: strawberry.Private[int]

    @resolver("The instrument")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @classmethod
    def of(cls, row: Row, scales: Scales) -> Liquidity:
        """From a row of the table."""
        return cls(
            window=int(row["window"]), instrument_id=BigInt(int(row["instrument"])), trades=BigInt(int(row["trades"])),
            quoted_epochs=BigInt(int(row["quoted_epochs"])), run=int(row["run"]), **_numbers("liquidity", row, scales),
        )  # fmt: skip


@strawberry.type(description="Stability of an instrument's price over a window, by the Spark job.")
class PriceStability:
    """A row of `price_stability`."""

    window: int = strawberry.field(description="Number of the window")
    instrument_id: BigInt = strawberry.field(description="Instrument")
    opening_price: DecimalText = strawberry.field(description="Valuation price at the start; unit: the currency")
    opening_price_raw: BigInt = strawberry.field(
        description="The same as an integer; unit: price steps (10^-priceScale)"
    )
    closing_price: DecimalText = strawberry.field(description="Valuation price at the end; unit: the currency")
    closing_price_raw: BigInt = strawberry.field(
        description="The same as an integer; unit: price steps (10^-priceScale)"
    )
    inflation: DecimalText = strawberry.field(description="Change from opening to closing price; unit: 1")
    inflation_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-9")
    realised_volatility: DecimalText = strawberry.field(
        description="Root of the sum of squared returns of the rounds, per window; unit: 1"
    )
    realised_volatility_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-9")
    max_drawdown: DecimalText = strawberry.field(description="Largest fall from the highest price so far; unit: 1")
    max_drawdown_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-9")
    run: strawberry.Private[int]

    @resolver("The instrument")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @classmethod
    def of(cls, row: Row, scales: Scales) -> PriceStability:
        """From a row of the table."""
        return cls(
            window=int(row["window"]), instrument_id=BigInt(int(row["instrument"])), run=int(row["run"]),
            **_numbers("price_stability", row, scales),
        )  # fmt: skip


@strawberry.type(description="How an agent fared in a window, by the Spark job.")
class AgentPerformance:
    """A row of `agent_performance`."""

    window: int = strawberry.field(description="Number of the window")
    agent_id: BigInt = strawberry.field(description="Agent")
    role: str = strawberry.field(description="Role of the agent")
    net_worth: DecimalText = strawberry.field(
        description="Assets less debts at the end, of a corporation its own funds; unit: the currency"
    )
    net_worth_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    change: DecimalText = strawberry.field(description="Change of net worth in the window; unit: the currency")
    change_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    growth: DecimalText | None = strawberry.field(
        description="Change over the net worth before, null where that was not positive; unit: 1"
    )
    growth_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: 1e-9")
    trades: BigInt = strawberry.field(description="Trades as buyer or seller; unit: trades")
    bought: DecimalText = strawberry.field(description="Notional of purchases, without tax; unit: the currency")
    bought_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    sold: DecimalText = strawberry.field(description="Notional of sales; unit: the currency")
    sold_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    run: strawberry.Private[int]

    @resolver("The agent")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @classmethod
    def of(cls, row: Row) -> AgentPerformance:
        """From a row of the table."""
        return cls(
            window=int(row["window"]), agent_id=BigInt(int(row["agent"])), role=row["role"], run=int(row["run"]),
            trades=BigInt(int(row["trades"])),
            **_numbers("agent_performance", row, NO_LISTINGS),
        )  # fmt: skip


_AMOUNTS: Final = ("net_worth", "change", "bought", "sold")


@strawberry.type(description="How all agents of a role fared in a window.")
class RolePerformance:
    """Sums over the agents of a role."""

    window: int = strawberry.field(description="Number of the window")
    role: str = strawberry.field(description="Role")
    agents: int = strawberry.field(description="Number of agents; unit: agents")
    net_worth: DecimalText = strawberry.field(description="Sum of their net worths; unit: the currency")
    net_worth_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    median_net_worth: DecimalText = strawberry.field(description="Lower median of their net worths; unit: the currency")
    median_net_worth_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    change: DecimalText = strawberry.field(description="Sum of the changes; unit: the currency")
    change_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    trades: BigInt = strawberry.field(description="Sides of trades; unit: trades")
    bought: DecimalText = strawberry.field(description="Notional of purchases, without tax; unit: the currency")
    bought_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")
    sold: DecimalText = strawberry.field(description="Notional of sales; unit: the currency")
    sold_raw: BigInt = strawberry.field(description="The same as an integer; unit: 1e-8 of the currency")


@strawberry.type(description="A figure on which stream and batch do not agree.")
class Disagreement:
    """A row of `reconciliation`."""

    window: int = strawberry.field(description="Number of the window")
    indicator: str = strawberry.field(description="Name of the indicator")
    item: BigInt = strawberry.field(description="Instrument or other item of the indicator, else 0")
    stream: DecimalText | None = strawberry.field(
        description="By the stream, null where missing; unit: the indicator's"
    )
    stream_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: the measure's rawUnit")
    batch: DecimalText | None = strawberry.field(description="By the batch, null where missing; unit: the indicator's")
    batch_raw: BigInt | None = strawberry.field(description="The same as an integer; unit: the measure's rawUnit")


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
        columns = f"run, window, instrument, trades, quoted_epochs, {_texts(*RESULTS['liquidity'])}"
        only = {"window": window, "instrument": instrument}
        rows = await page_of(info, self.id, "liquidity", columns, keys, size, after, only, repeats=False)
        scales = await info.context.loaders.scales(self.id)
        return connect(rows, size, after, keys, lambda row: Liquidity.of(row, scales))

    @resolver("Stability of prices in the order of (window, instrument); empty until the job has run")
    async def price_stability(
        self, info: Info, first: int = 100, after: str | None = None, window: int | None = None,
        instrument: BigInt | None = None,
    ) -> Connection[PriceStability]:  # fmt: skip
        size, keys = page_size(info, first), ("window", "instrument")
        columns = f"run, window, instrument, {_texts(*RESULTS['price_stability'])}"
        only = {"window": window, "instrument": instrument}
        rows = await page_of(info, self.id, "price_stability", columns, keys, size, after, only, repeats=False)
        scales = await info.context.loaders.scales(self.id)
        return connect(rows, size, after, keys, lambda row: PriceStability.of(row, scales))

    @resolver("Performance of agents in the order of (window, agent); empty until the job has run")
    async def agent_performance(
        self, info: Info, first: int = 100, after: str | None = None, window: int | None = None,
        agent: BigInt | None = None, role: str | None = None,
    ) -> Connection[AgentPerformance]:  # fmt: skip
        size, keys = page_size(info, first), ("window", "agent")
        amounts = _texts(*_AMOUNTS, "growth")
        columns = f"run, window, agent, toString(role) AS role, trades, {amounts}"
        only = {"window": window, "agent": agent, "toString(agent_performance.role)": role}
        rows = await page_of(info, self.id, "agent_performance", columns, keys, size, after, only, repeats=False)
        if not rows:
            named("AgentFounded", "role", role)  # the column is a text: it may hold roles that this version has not
        return connect(rows, size, after, keys, AgentPerformance.of)

    @resolver("Performance of all agents of each role in a window; empty until the job has run")
    async def role_performance(self, info: Info, window: int) -> list[RolePerformance]:
        info.context.spend(10)
        rows = await info.context.loaders.rows(
            "SELECT window, toString(p.role) AS role, count() AS agents, toInt64(sum(p.trades)) AS trades, "
            + ", ".join(f"toString(sum(p.{name})) AS {name}" for name in _AMOUNTS)
            + ", toString(quantileExactLow(p.net_worth)) AS median_net_worth FROM agent_performance AS p "
            "WHERE run = {run:Int64} AND window = {window:Int32} GROUP BY window, p.role ORDER BY role",
            run=int(self.id), window=window,
        )  # fmt: skip
        return [
            RolePerformance(
                window=int(row["window"]), role=row["role"], agents=int(row["agents"]),
                trades=BigInt(int(row["trades"])),
                **_numbers("agent_performance", row, NO_LISTINGS),
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
        scales = await info.context.loaders.scales(self.id)
        return Reconciliation(
            figures=BigInt(int(counts[0]["figures"])), equal=BigInt(int(counts[0]["equal_figures"])),
            disagreements=[
                Disagreement(
                    window=int(row["window"]), indicator=row["name"], item=BigInt(int(row["item"])),
                    **both("stream", row["stream_value"], scales.figure(row["name"], int(row["item"]))),
                    **both("batch", row["batch_value"], scales.figure(row["name"], int(row["item"]))),
                )
                for row in rows
            ],
        )  # fmt: skip

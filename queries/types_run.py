"""A run: how it was set up, what came of it, and the way down to its records."""

from __future__ import annotations

from typing import Final, cast

import strawberry

from economy.errors import InputError
from economy.numbers.decimals import exact
from economy.scales import Scales
from queries.books import BUY, SELL, best, book_at
from queries.loaders import RESULTS
from queries.measured import figures_of, scales_of, series_of
from queries.paging import Connection, Info, between, connect, decode_cursor, named, page_of, page_size, records, worth
from queries.records import Row
from queries.types import (
    CATALOGUE,
    JSON,
    WINDOW_FIGURES,
    BigInt,
    DecimalText,
    Series,
    Source,
    Window,
    check_names,
    resolver,
)
from queries.types_events import Event, EventKind, events_of
from queries.types_market import Agent, Balance, Decision, Instrument, Order, Trade
from queries.types_results import JobResults
from queries.types_status import STATUS_COLUMNS, STATUS_TABLE, TradingStatus

WINDOWS: Final = 400  # of one answer: a century
_DOCUMENTS: Final = ("environment", "start_offsets", "end_offsets")


@strawberry.type(description="How a run was set up.")
class RunConfig:
    """Everything that is needed to repeat the run."""

    scenario: str = strawberry.field(description="Name of the scenario")
    seed: BigInt = strawberry.field(description="Seed of every random number")
    shards: int = strawberry.field(description="Agent shards; the digest does not depend on it")
    partitions: int = strawberry.field(description="Order partitions; the digest does not depend on it")
    flow_partitions: int = strawberry.field(description="Flow and decision partitions; nor on this")
    epoch_ticks: BigInt = strawberry.field(description="Length of an epoch; unit: ticks")
    rules_version: int = strawberry.field(description="Version of the behaviour; re-execution needs the same")
    digest_version: int = strawberry.field(description="Version of the digest")
    scenario_json: JSON | None = strawberry.field(description="The scenario: every parameter with its value")
    environment: JSON | None = strawberry.field(description="Hash of the lock file, CPU architecture, versions")
    start_offsets: JSON | None = strawberry.field(description="First offset on the log per topic and partition")
    end_offsets: JSON | None = strawberry.field(description="Offset behind the last record, per topic and partition")


@strawberry.type(description="Where the figures of a batch job come from.")
class Lineage:
    """One version of a job over one range of the log."""

    job: str = strawberry.field(description="Name of the job")
    job_version: int = strawberry.field(description="Version of its code")
    start_offsets: JSON = strawberry.field(description="First offset per topic and partition")
    end_offsets: JSON = strawberry.field(description="Offset after the last, per topic and partition")
    computed_at: str = strawberry.field(description="When; UTC")
    windows: int = strawberry.field(description="Number of windows with a result")
    figures: int = strawberry.field(description="Number of figures, or of rows of a table of its own")


@strawberry.type(description="A replayed exchange tape beside the exchange's own trades.")
class TapeComparison:
    """How far our matching agrees with the exchange's."""

    orders: BigInt = strawberry.field(description="Orders of the tape")
    trades: BigInt = strawberry.field(description="Trades by our matching")
    prints: BigInt = strawberry.field(description="Trades that the exchange printed")
    matched: BigInt = strawberry.field(description="Prints with the same pair of orders in our trades")
    explanation: JSON = strawberry.field(description="The prints that did not match, with the reason")


@strawberry.type(description="A price level of an order book.")
class BookLevel:
    """A level."""

    price_raw: BigInt = strawberry.field(description="`price` as an integer; unit: price steps (10^-priceScale)")
    quantity_raw: BigInt = strawberry.field(description="`quantity` as an integer; unit: lots (10^-quantityScale)")
    instrument: strawberry.Private[int]
    scales: strawberry.Private[Scales]

    @resolver("Price of the level; unit: the currency")
    def price(self) -> DecimalText:
        return DecimalText(exact(self.price_raw, self.scales.price(self.instrument)))

    @resolver("Total resting at the level; unit: the instrument's")
    def quantity(self) -> DecimalText:
        return DecimalText(exact(self.quantity_raw, self.scales.quantity(self.instrument)))


@strawberry.type(description="An order book as of a tick, rebuilt from the changes of its levels.")
class Book:
    """A book; the best levels come first."""

    instrument_id: BigInt = strawberry.field(description="Instrument")
    tick: BigInt = strawberry.field(description="Simulated time; unit: ticks")
    bids: list[BookLevel] = strawberry.field(description="Buyers, highest price first")
    asks: list[BookLevel] = strawberry.field(description="Sellers, lowest price first")


@strawberry.type(description="One run of a scenario or of a tape.")
class Run(JobResults):
    """A run."""

    state: str = strawberry.field(
        description="open, paused, finished (on the log) or aborted; stored once all its records and figures are here"
    )
    digest: str | None = strawberry.field(description="Digest of all events: equal runs have equal digests")
    root: str | None = strawberry.field(description="Root of the log's hash chain")
    epochs: BigInt = strawberry.field(description="Epochs done")
    ticks: BigInt = strawberry.field(description="Ticks done; 1 tick = 1/60 s at 1x")
    reason: str | None = strawberry.field(description="Why it was aborted; null otherwise")
    parent: BigInt | None = strawberry.field(description="Run that it was forked from; null when it is none")
    started_at: str | None = strawberry.field(description="When it was started; UTC")
    finished_at: str | None = strawberry.field(description="When it ended; UTC")
    row: strawberry.Private[Row]

    @classmethod
    def of(cls, row: Row) -> Run:
        """From a row of runs."""
        return cls(
            id=BigInt(int(row["run"])), state=row["state"], digest=row["digest"] or None, root=row["root"] or None,
            epochs=BigInt(int(row["epochs"])), ticks=BigInt(int(row["ticks"])), started_at=row["started_at"] or None,
            finished_at=row["finished_at"] or None, row=row, reason=row["reason"] or None,
            parent=BigInt(int(row["parent"])) if row["parent"] else None,
        )  # fmt: skip

    @resolver("How it was set up")
    def config(self) -> RunConfig:
        row = self.row
        documents = {
            name: JSON(row[column]) if row[column] else None
            for name, column in (("scenario_json", "config"), *((n, n) for n in _DOCUMENTS))
        }
        return RunConfig(
            scenario=row["scenario"], seed=BigInt(int(row["seed"])), shards=int(row["shards"]),
            partitions=int(row["partitions"]), flow_partitions=int(row["flow_partitions"]),
            epoch_ticks=BigInt(int(row["epoch_ticks"])), rules_version=int(row["rules_version"]),
            digest_version=int(row["digest_version"]), **documents,
        )  # fmt: skip

    @resolver("National accounts per window, ascending: GDP by three approaches, Gini, prices")
    async def windows(self, info: Info, first: int = 100, after: int = -1) -> list[Window]:
        if not 1 <= first <= WINDOWS:
            raise InputError("first", first, f"ask for 1 to {WINDOWS} windows")
        info.context.spend(first)
        found = await figures_of(info.context.loaders, self.id, WINDOW_FIGURES, first, after)
        return [Window(number=number, figures=figures) for number, figures in found.items()]

    @resolver("Indicators over time, one series for each name and item")
    async def indicators(self, info: Info, names: list[str], source: Source = Source.STREAM) -> list[Series]:
        if not 1 <= len(names) <= len(CATALOGUE):
            raise InputError("names", names, "name at least one indicator, each once")
        info.context.spend(WINDOWS)
        found = await series_of(info.context.loaders, self.id, sorted(set(check_names(names))), source.value)
        scales = await scales_of(info.context.loaders, self.id, found)
        return [
            Series(
                measure=CATALOGUE[name], item=BigInt(item), source=source, windows=windows,
                values_raw=cast("list[BigInt]", values), scale=scales[name, item],
            )
            for name, points in found.items()
            for item, windows, values in points
        ]  # fmt: skip

    @resolver("What is traded, by number")
    async def instruments(self, info: Info) -> list[Instrument]:
        info.context.spend(100)
        found = await info.context.loaders.instruments(int(self.id))
        return [Instrument.of(row) for row in found.values()]

    @resolver(
        "Trades in the order of (instrument, seq); of an instrument, an agent (either side), a span of ticks, "
        "a span of notionals (in the currency)"
    )
    async def trades(
        self, info: Info, first: int = 20, after: str | None = None, instrument: BigInt | None = None,
        agent: BigInt | None = None, use: str | None = None, from_tick: BigInt | None = None,
        to_tick: BigInt | None = None, from_notional: DecimalText | None = None,
        to_notional: DecimalText | None = None,
    ) -> Connection[Trade]:  # fmt: skip
        only = {
            "instrument": instrument, "? IN (maker_agent, taker_agent)": agent, **named("TradeExecuted", "use", use),
            **between(from_tick, to_tick), **worth("notional", fromNotional=from_notional, toNotional=to_notional),
        }  # fmt: skip
        return await records(info, self.id, Trade, first, after, only)

    @resolver("Halts, auctions behind calls and moves of price bands in the order of (instrument, seq)")
    async def trading_statuses(
        self, info: Info, first: int = 20, after: str | None = None, instrument: BigInt | None = None
    ) -> Connection[TradingStatus]:
        size = page_size(info, first)
        keys = ("instrument", "seq")
        only = {"instrument": instrument}
        rows = await page_of(info, self.id, STATUS_TABLE, STATUS_COLUMNS, keys, size, after, only, repeats=False)
        scales = await info.context.loaders.scales(self.id)
        return connect(rows, size, after, keys, lambda row: TradingStatus.of(row, scales))

    @resolver("Orders in the order of (agent, n)")
    async def orders(
        self, info: Info, first: int = 20, after: str | None = None, agent: BigInt | None = None,
        instrument: BigInt | None = None, side: str | None = None, from_tick: BigInt | None = None,
        to_tick: BigInt | None = None,
    ) -> Connection[Order]:  # fmt: skip
        only = {
            "agent": agent, "instrument": instrument, **named("OrderSubmitted", "side", side),
            **between(from_tick, to_tick),
        }  # fmt: skip
        return await records(info, self.id, Order, first, after, only)

    @resolver("Decisions in the order of (agent, n)")
    async def decisions(
        self, info: Info, first: int = 20, after: str | None = None, agent: BigInt | None = None,
        action: str | None = None, from_tick: BigInt | None = None, to_tick: BigInt | None = None,
    ) -> Connection[Decision]:  # fmt: skip
        only = {"agent": agent, **named("AgentDecided", "action", action), **between(from_tick, to_tick)}
        return await records(info, self.id, Decision, first, after, only)

    @resolver("Records of one kind as they stand on the log, in the order of their identity")
    async def events(
        self, info: Info, kind: EventKind, first: int = 20, after: str | None = None, agent: BigInt | None = None,
        instrument: BigInt | None = None, from_tick: BigInt | None = None, to_tick: BigInt | None = None,
    ) -> Connection[Event]:  # fmt: skip
        size = page_size(info, first)
        return await events_of(info, int(self.id), kind, size, after, agent, instrument, from_tick, to_tick)

    @resolver("Agents by number, all or of one role")
    async def agents(
        self, info: Info, first: int = 100, after: str | None = None, role: str | None = None
    ) -> Connection[Agent]:
        loaders = info.context.loaders
        if role is None and loaders.place(self.id) is not None:
            size = page_size(info, first)
            last = -1 if after is None else decode_cursor(after, 1)[0]
            rows = await loaders.agents_after(self.id, last, size + 1)
            return connect(rows, size, after, ("agent",), Agent.of)
        return await records(info, self.id, Agent, first, after, named("AgentFounded", "role", role))

    @resolver("Stocks at the end of a window in the order of (agent, account, item)")
    async def balances(
        self, info: Info, window: int, first: int = 100, after: str | None = None, account: str | None = None,
        agent: BigInt | None = None,
    ) -> Connection[Balance]:  # fmt: skip
        only = {"window": window, "agent": agent, **named("BalanceRecorded", "account", account)}
        return await records(info, self.id, Balance, first, after, only)

    @resolver("The order book of an instrument as of a tick")
    async def book(self, info: Info, instrument: BigInt, tick: BigInt | None = None, depth: int = 20) -> Book:
        if not 1 <= depth <= 200:
            raise InputError("depth", depth, "ask for 1 to 200 levels of each side")
        info.context.spend(2 * depth)
        at = int(self.row["ticks"]) if tick is None else int(tick)
        levels = await book_at(info.context.loaders, int(self.id), int(instrument), at)
        scales = await info.context.loaders.scales(self.id)
        bids, asks = (
            [
                BookLevel(price_raw=BigInt(price), quantity_raw=BigInt(rest), instrument=instrument, scales=scales)
                for price, rest in best(levels, side, depth)
            ]
            for side in (BUY, SELL)
        )
        return Book(instrument_id=instrument, tick=BigInt(at), bids=bids, asks=asks)

    @resolver("The exchange's own trades beside ours; null for a run that replayed no tape")
    async def tape(self, info: Info) -> TapeComparison | None:
        rows = await info.context.loaders.rows(
            "SELECT orders, trades, prints, matched, toString(explanation) AS explanation FROM tape_comparisons FINAL "
            "WHERE run = {run:Int64} LIMIT 1",
            run=int(self.id),
        )
        if not rows:
            return None
        counts = {name: BigInt(int(rows[0][name])) for name in ("orders", "trades", "prints", "matched")}
        return TapeComparison(**counts, explanation=JSON(rows[0]["explanation"]))

    @resolver("Jobs that computed the batch results, with the range of the log that they read")
    async def lineage(self, info: Info) -> list[Lineage]:
        info.context.spend(10)
        each = " UNION ALL ".join(
            "SELECT toString(job) AS name, job_version, toString(start_offsets) AS start, "
            f"toString(end_offsets) AS end, computed_at, window FROM {table} WHERE run = {{run:Int64}}"
            for table in RESULTS
        )
        rows = await info.context.loaders.rows(
            "SELECT name AS job, job_version, start AS start_offsets, end AS end_offsets, "
            "toString(max(computed_at)) AS computed, uniqExact(window) AS windows, count() AS figures "
            f"FROM ({each}) GROUP BY name, job_version, start, end ORDER BY name, job_version LIMIT 100",
            run=int(self.id),
        )
        return [
            Lineage(
                job=row["job"], job_version=int(row["job_version"]), start_offsets=JSON(row["start_offsets"]),
                end_offsets=JSON(row["end_offsets"]), computed_at=row["computed"], windows=int(row["windows"]),
                figures=int(row["figures"]),
            )
            for row in rows
        ]  # fmt: skip

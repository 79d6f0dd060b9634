"""Instruments, agents, trades, orders, decisions, balances: the records behind the figures."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import strawberry

from economy.errors import InputError
from queries.cache import Fingerprint
from queries.limits import ROWS
from queries.loaders import Loaders, Row
from queries.types import BigInt, Money, resolver

PAGE: Final = 500  # records in one page at most
T = TypeVar("T")


@dataclass
class Context:
    """What the resolvers of one request share."""

    loaders: Loaders
    fingerprint: Callable[[int], Awaitable[Fingerprint | None]]
    live: Any = None
    volatile: bool = False  # the answer depends on more than finished runs
    rows_left: int = ROWS

    @property
    def runs(self) -> dict[int, Fingerprint]:
        """The runs that the answer depends on, as they were before they were read."""
        return self.loaders.runs

    def spend(self, rows: int) -> None:
        """Count the rows that a list may return. Raises InputError when the request asks for too many."""
        self.rows_left -= rows
        if self.rows_left < 0:
            raise InputError("first", rows, f"ask for fewer records: all lists of one request may return {ROWS}")


Info = strawberry.Info[Context, None]


def encode_cursor(*parts: int) -> str:
    """An opaque cursor over integer keys."""
    return base64.urlsafe_b64encode(":".join(map(str, parts)).encode()).decode()


def decode_cursor(cursor: str, count: int) -> tuple[int, ...]:
    """The keys of a cursor. Raises InputError for one that was not given out by the same list."""
    try:
        parts = tuple(int(p) for p in base64.urlsafe_b64decode(cursor.encode()).decode("ascii").split(":"))
    except (binascii.Error, ValueError):
        parts = ()
    if len(parts) != count or any(abs(p) >= 2**63 for p in parts):
        raise InputError("after", cursor, "pass an endCursor of the same list, unchanged")
    return parts


def page_size(info: Info, first: int) -> int:
    """A checked page size, counted against the request's rows."""
    if not 1 <= first <= PAGE:
        raise InputError("first", first, f"ask for 1 to {PAGE} records")
    info.context.spend(first)
    return first


@strawberry.type(description="Where a page of a list stands.")
class PageInfo:
    """Relay's page information; lists are read forwards."""

    has_next_page: bool = strawberry.field(description="Whether more records follow")
    has_previous_page: bool = strawberry.field(description="Whether the page began after a cursor")
    start_cursor: str | None = strawberry.field(description="Cursor of the first record")
    end_cursor: str | None = strawberry.field(description="Cursor of the last record: pass it as `after`")


@strawberry.type(description="A record in a page.")
class Edge(Generic[T]):
    """Relay's edge."""

    cursor: str = strawberry.field(description="Cursor of this record")
    node: T = strawberry.field(description="The record")


@strawberry.type(description="A page of a list, in the order of the records' identity.")
class Connection(Generic[T]):
    """Relay's connection."""

    edges: list[Edge[T]] = strawberry.field(description="Records with their cursors")
    page_info: PageInfo = strawberry.field(description="Where the page stands")

    @resolver("The records alone")
    def nodes(self) -> list[T]:
        return [edge.node for edge in self.edges]


def connect(
    rows: Sequence[Row], first: int, after: str | None, keys: tuple[str, ...], make: Callable[[Row], T]
) -> Connection[T]:
    """A page from up to first + 1 rows: the one too many tells that more follow."""
    page = rows[:first]
    edges = [Edge(cursor=encode_cursor(*(int(row[k]) for k in keys)), node=make(row)) for row in page]
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=len(rows) > first,
            has_previous_page=after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
    )


async def page_of(
    info: Info, run: int, table: str, columns: str, keys: tuple[str, ...], first: int, after: str | None, only: Row,
    one: str = "", *, final: bool = True,
) -> list[Row]:  # fmt: skip
    """Up to first + 1 rows of a run after the cursor, in the order of `keys`: one statement, found by primary key.

    `final` is for tables of records, which may stand twice until they are merged; results of jobs never do.
    """
    clauses = ["run = {run:Int64}"]
    parameters: dict[str, Any] = {"run": int(run), "limit": first + 1}
    for i, (name, value) in enumerate(only.items()):
        if value is not None:
            clauses.append(f"{name} = {{only_{i}:{'String' if isinstance(value, str) else 'Int64'}}}")
            parameters[f"only_{i}"] = value
    if after is not None:
        values = decode_cursor(after, len(keys))
        parameters |= {f"after_{i}": value for i, value in enumerate(values)}
        bound = ", ".join(f"{{after_{i}:Int64}}" for i in range(len(keys)))
        # The first part says again what the second implies: it lets ClickHouse skip by primary key.
        clauses.append(f"{keys[0]} >= {{after_0:Int64}} AND ({', '.join(keys)}) > ({bound})")
    return await info.context.loaders.rows(
        f"SELECT {columns} FROM {table} {'FINAL' if final else ''} WHERE {' AND '.join(clauses)} "
        f"ORDER BY {', '.join(keys)} {one} LIMIT {{limit:UInt32}}",
        **parameters,
    )


@strawberry.type(description="Something that is traded.")
class Instrument:
    """An instrument; prices count steps of 10^-priceScale, quantities lots of 10^-quantityScale."""

    instrument: BigInt = strawberry.field(description="Number of the instrument in its run")
    symbol: str = strawberry.field(description="Name for people")
    instrument_class: str = strawberry.field(description="good, service, equity or currency")
    item: BigInt = strawberry.field(description="Product of a good or service, issuer's agent id of a share, else 0")
    currency: str = strawberry.field(description="Currency of its prices")
    price_scale: int = strawberry.field(description="Decimal places of a price")
    quantity_scale: int = strawberry.field(description="Decimal places of a quantity")
    tick_size: BigInt = strawberry.field(description="Smallest price step; unit: price steps")
    lot_size: BigInt = strawberry.field(description="Smallest quantity step; unit: lots")
    reference_price: BigInt = strawberry.field(description="First valuation price; unit: price steps")

    @classmethod
    def of(cls, row: Row) -> Instrument:
        """From a row of instrument_listed."""
        return cls(
            instrument=BigInt(int(row["instrument"])), symbol=row["symbol"], instrument_class=row["instrument_class"],
            item=BigInt(int(row["item"])), currency=row["currency"], price_scale=int(row["price_scale"]),
            quantity_scale=int(row["quantity_scale"]), tick_size=BigInt(int(row["tick_size"])),
            lot_size=BigInt(int(row["lot_size"])), reference_price=BigInt(int(row["reference_price"])),
        )  # fmt: skip


@strawberry.type(description="A stock of an agent at the end of a window.")
class Balance:
    """A balance; liabilities are negative."""

    window: int = strawberry.field(description="Number of the window")
    agent_id: BigInt = strawberry.field(description="Owner")
    account: str = strawberry.field(description="cash, goods, capital, shares or bonds")
    item: BigInt = strawberry.field(description="Product, issuer or 0")
    quantity: BigInt = strawberry.field(
        description="Amount; unit: 1e-8 of the currency (cash, bonds), lots (goods, capital), shares"
    )
    run: strawberry.Private[int]

    @resolver("The owner")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @classmethod
    def of(cls, row: Row) -> Balance:
        """From a row of balance_recorded."""
        return cls(
            window=int(row["window"]), agent_id=BigInt(int(row["agent"])), account=row["account"],
            item=BigInt(int(row["item"])), quantity=BigInt(int(row["quantity"])), run=int(row["run"]),
        )  # fmt: skip


@strawberry.type(description="An agent of the economy.")
class Agent:
    """An agent."""

    agent: BigInt = strawberry.field(description="Number of the agent in its run")
    name: str = strawberry.field(description="Name for people")
    role: str = strawberry.field(description="household, corporation, market_maker, government, ...")
    run: strawberry.Private[int]

    @resolver("Its stocks at the end of a window")
    async def balances(self, info: Info, window: int) -> list[Balance]:
        rows = await info.context.loaders.balance.load((self.run, window, int(self.agent)))
        info.context.spend(len(rows))  # an agent's balances lead to the agent again: depth alone would multiply
        return [Balance.of(row) for row in rows]

    @classmethod
    def of(cls, row: Row) -> Agent:
        """From a row of agent_founded."""
        return cls(agent=BigInt(int(row["agent"])), name=row["name"], role=row["role"], run=int(row["run"]))


def agent_of(info: Info, run: int, agent: int) -> Any:
    """An agent by number, or a promise of one: all that are not remembered are read together."""
    row = info.context.loaders.known_agent(run, agent)
    return _agent_of(info, run, agent) if row is None else Agent.of(row)


async def _agent_of(info: Info, run: int, agent: int) -> Agent | None:
    row = await info.context.loaders.agent.load((run, agent))
    return None if row is None else Agent.of(row)


def instrument_of(info: Info, run: int, instrument: int) -> Any:
    """An instrument by number, or a promise of one: all that are not remembered are read together."""
    row = info.context.loaders.known_instrument(run, instrument)
    return _instrument_of(info, run, instrument) if row is None else Instrument.of(row)


async def _instrument_of(info: Info, run: int, instrument: int) -> Instrument | None:
    row = await info.context.loaders.instrument.load((run, instrument))
    return None if row is None else Instrument.of(row)


@strawberry.type(description="A decision: a wake-up that weighed options, also when the answer is 'nothing'.")
class Decision:
    """A decision of an agent."""

    agent_id: BigInt = strawberry.field(description="Who decided")
    n: BigInt = strawberry.field(description="Counter of the agent; (agent, n) is the identity")
    tick: BigInt = strawberry.field(description="Simulated time; unit: ticks (1/60 s at 1x)")
    role: str = strawberry.field(description="Role of the agent")
    strategy: str = strawberry.field(description="Rule followed")
    action: str = strawberry.field(description="What was decided")
    choice: BigInt = strawberry.field(description="The quantity decided; its unit depends on role and action")
    inputs: list[BigInt] = strawberry.field(description="The three inputs that mattered, by role and action")
    run: strawberry.Private[int]

    @resolver("Who decided")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @classmethod
    def of(cls, row: Row) -> Decision:
        """From a row of agent_decided."""
        return cls(
            agent_id=BigInt(int(row["agent"])), n=BigInt(int(row["n"])), tick=BigInt(int(row["tick"])),
            role=row["role"], strategy=row["strategy"], action=row["action"], choice=BigInt(int(row["choice"])),
            inputs=[BigInt(int(row[f"input_{i}"])) for i in (1, 2, 3)], run=int(row["run"]),
        )  # fmt: skip


@strawberry.type(description="An order as it was sent.")
class Order:
    """An order."""

    agent_id: BigInt = strawberry.field(description="Who sent it")
    n: BigInt = strawberry.field(description="Counter of the agent; (agent, n) is the identity")
    order: BigInt = strawberry.field(description="Order id, unique per agent")
    instrument_id: BigInt = strawberry.field(description="What was ordered")
    tick: BigInt = strawberry.field(description="Simulated time; unit: ticks (1/60 s at 1x)")
    side: str = strawberry.field(description="buy or sell")
    type: str = strawberry.field(description="limit or market")
    time_in_force: str = strawberry.field(description="gtc, ioc or fok")
    post_only: bool = strawberry.field(description="Rejected instead of taking liquidity")
    price: BigInt = strawberry.field(description="Limit price, 0 for a market order; unit: price steps")
    quantity: BigInt = strawberry.field(description="Quantity ordered; unit: lots")
    expires: BigInt = strawberry.field(description="Last tick at which it stands, 0 = until cancelled")
    cash_cap: Money = strawberry.field(description="Most that a market buy may spend, 0 = no cap")
    use: str = strawberry.field(description="What the buyer buys for")
    tax_rate: BigInt = strawberry.field(description="Sales tax on top; unit: 0.0001")
    run: strawberry.Private[int]
    cause: strawberry.Private[int]

    @resolver("Who sent it")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @resolver("What was ordered")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @resolver("The decision that it follows from; null where there was none")
    async def decision(self, info: Info) -> Decision | None:
        if self.cause == 0:
            return None
        row = await info.context.loaders.decision.load((self.run, int(self.agent_id), self.cause))
        return None if row is None else Decision.of(row)

    @classmethod
    def of(cls, row: Row) -> Order:
        """From a row of order_submitted."""
        return cls(
            agent_id=BigInt(int(row["agent"])), n=BigInt(int(row["n"])), order=BigInt(int(row["order"])),
            instrument_id=BigInt(int(row["instrument"])), tick=BigInt(int(row["tick"])), side=row["side"],
            type=row["type"], time_in_force=row["tif"], post_only=bool(row["post_only"]),
            price=BigInt(int(row["price"])), quantity=BigInt(int(row["quantity"])),
            expires=BigInt(int(row["expires"])), cash_cap=Money(int(row["cash_cap"])), use=row["use"],
            tax_rate=BigInt(int(row["tax_rate"])), run=int(row["run"]), cause=int(row["decision"]),
        )  # fmt: skip


@strawberry.type(description="A trade.")
class Trade:
    """A trade between a resting order (maker) and an incoming one (taker)."""

    instrument_id: BigInt = strawberry.field(description="What was traded")
    seq: BigInt = strawberry.field(description="Counter of the instrument's output; (instrument, seq) is the identity")
    tick: BigInt = strawberry.field(description="Simulated time; unit: ticks (1/60 s at 1x)")
    price: BigInt = strawberry.field(description="Unit: price steps of 10^-priceScale")
    quantity: BigInt = strawberry.field(description="Unit: lots of 10^-quantityScale")
    notional: Money = strawberry.field(description="price x quantity: what the seller receives")
    tax: Money = strawberry.field(description="Sales tax that the buyer pays on top")
    taker_side: str = strawberry.field(description="Side of the incoming order: buy or sell")
    use: str = strawberry.field(description="What the buyer buys for: none, intermediate, consumption, ...")
    instrument_class: str = strawberry.field(description="good, service, equity or currency")
    maker_agent: BigInt = strawberry.field(description="Agent of the resting order")
    taker_agent: BigInt = strawberry.field(description="Agent of the incoming order")
    run: strawberry.Private[int]
    maker_id: strawberry.Private[int]
    taker_id: strawberry.Private[int]

    @resolver("What was traded")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @resolver("Who bought")
    def buyer(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.taker_agent if self.taker_side == "buy" else self.maker_agent)

    @resolver("Who sold")
    def seller(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.maker_agent if self.taker_side == "buy" else self.taker_agent)

    @resolver("The resting order")
    async def maker_order(self, info: Info) -> Order | None:
        row = await info.context.loaders.order.load((self.run, int(self.maker_agent), self.maker_id))
        return None if row is None else Order.of(row)

    @resolver("The incoming order")
    async def taker_order(self, info: Info) -> Order | None:
        row = await info.context.loaders.order.load((self.run, int(self.taker_agent), self.taker_id))
        return None if row is None else Order.of(row)

    @classmethod
    def of(cls, row: Row) -> Trade:
        """From a row of trade_executed."""
        return cls(
            instrument_id=BigInt(int(row["instrument"])), seq=BigInt(int(row["seq"])), tick=BigInt(int(row["tick"])),
            price=BigInt(int(row["price"])), quantity=BigInt(int(row["quantity"])),
            notional=Money(int(row["notional"])), tax=Money(int(row["tax"])), taker_side=row["taker_side"],
            use=row["use"], instrument_class=row["instrument_class"], maker_agent=BigInt(int(row["maker_agent"])),
            taker_agent=BigInt(int(row["taker_agent"])), run=int(row["run"]), maker_id=int(row["maker_order"]),
            taker_id=int(row["taker_order"]),
        )  # fmt: skip

"""Instruments, agents, trades, orders, decisions, balances: the records behind the figures."""

from __future__ import annotations

from typing import Any

import strawberry

from queries.loaders import Row
from queries.paging import Info
from queries.types import BigInt, Money, resolver
from queries.types_events import Event, causes_of


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
    reference_price: BigInt = strawberry.field(
        description="First valuation price and first reference of bands and auctions, 0 = none; unit: price steps"
    )
    fixing_ticks: BigInt = strawberry.field(description="Interval of valuation prices, 0 = never; unit: ticks")
    band_bp: BigInt = strawberry.field(
        description="Half-width of the price band around the reference, outside of which limits are rejected, "
        "0 = none; unit: 0.0001 of the reference"
    )
    breaker_bp: BigInt = strawberry.field(
        description="A trade that would print further than this from the reference halts trading instead, 0 = never; "
        "unit: 0.0001 of the reference"
    )
    halt_ticks: BigInt = strawberry.field(description="Length of the call auction that such a halt begins; unit: ticks")
    open_ticks: BigInt = strawberry.field(
        description="Length of the call auction with which trading opens, 0 = none; unit: ticks"
    )

    @classmethod
    def of(cls, row: Row) -> Instrument:
        """From a row of instrument_listed."""
        return cls(
            instrument=BigInt(int(row["instrument"])), symbol=row["symbol"], instrument_class=row["instrument_class"],
            item=BigInt(int(row["item"])), currency=row["currency"], price_scale=int(row["price_scale"]),
            quantity_scale=int(row["quantity_scale"]), tick_size=BigInt(int(row["tick_size"])),
            lot_size=BigInt(int(row["lot_size"])), reference_price=BigInt(int(row["reference_price"])),
            fixing_ticks=BigInt(int(row["fixing_ticks"])), band_bp=BigInt(int(row["band_bp"])),
            breaker_bp=BigInt(int(row["breaker_bp"])), halt_ticks=BigInt(int(row["halt_ticks"])),
            open_ticks=BigInt(int(row["open_ticks"])),
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

    @resolver("What it had learnt since its last decision: records that concern it and public ones, the newest first")
    async def causes(self, info: Info, first: int = 20) -> list[Event]:
        return await causes_of(info, self.run, int(self.agent_id), int(self.tick), first)

    @resolver("The orders that follow from it, by number")
    async def orders(self, info: Info) -> list[Order]:
        rows = await info.context.loaders.orders_of.load((self.run, int(self.agent_id), int(self.n)))
        info.context.spend(len(rows))
        return [Order.of(row) for row in rows]

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

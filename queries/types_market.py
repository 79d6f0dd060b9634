"""Instruments, agents, trades, orders, decisions, balances: the records behind the figures."""

from __future__ import annotations

from typing import Any, cast

import strawberry

from queries.paging import Info
from queries.records import ALWAYS, Record, column, link
from queries.types import BigInt, Money, resolver
from queries.types_events import Event, causes_of


@strawberry.type(description="Something that is traded.")
class Instrument(Record):
    """An instrument; prices count steps of 10^-priceScale, quantities lots of 10^-quantityScale."""

    TABLE = "instrument_listed"
    KEYS = ("instrument",)

    instrument: BigInt = column("Number of the instrument in its run", also_for=ALWAYS)
    symbol: str = column("Name for people")
    instrument_class: str = column("good, service, equity or currency")
    item: BigInt = column("Product of a good or service, issuer's agent id of a share, else 0")
    currency: str = column("Currency of its prices")
    price_scale: int = column("Decimal places of a price")
    quantity_scale: int = column("Decimal places of a quantity")
    tick_size: BigInt = column("Smallest price step; unit: price steps")
    lot_size: BigInt = column("Smallest quantity step; unit: lots")
    reference_price: BigInt = column(
        "First valuation price and first reference of bands and auctions, 0 = none; unit: price steps"
    )
    fixing_ticks: BigInt = column("Interval of valuation prices, 0 = never; unit: ticks")
    band_bp: BigInt = column(
        "Half-width of the price band around the reference, outside of which limits are rejected, "
        "0 = none; unit: 0.0001 of the reference"
    )
    breaker_bp: BigInt = column(
        "A trade that would print further than this from the reference halts trading instead, 0 = never; "
        "unit: 0.0001 of the reference"
    )
    halt_ticks: BigInt = column("Length of the call auction that such a halt begins; unit: ticks")
    open_ticks: BigInt = column("Length of the call auction with which trading opens, 0 = none; unit: ticks")
    auction_pressure: BigInt = column(
        "1 = the side of the surplus decides between equal prices of an auction before the reference price does"
    )


@strawberry.type(description="A stock of an agent at the end of a window.")
class Balance(Record):
    """A balance; liabilities are negative."""

    TABLE = "balance_recorded"
    KEYS = ("agent", "account_number", "item")  # of one window

    window: int = column("Number of the window", also_for=ALWAYS)
    agent_id: BigInt = column("Owner", "agent", also_for=ALWAYS)
    account: str = column("cash, goods, capital, shares or bonds")
    item: BigInt = column("Product, issuer or 0", also_for=ALWAYS)
    quantity: BigInt = column("Amount; unit: 1e-8 of the currency (cash, bonds), lots (goods, capital), shares")
    run: strawberry.Private[int] = link()
    account_number: strawberry.Private[int] = link("toInt64(balance_recorded.account)")

    @resolver("The owner")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)


@strawberry.type(description="An agent of the economy.")
class Agent(Record):
    """An agent."""

    TABLE = "agent_founded"
    KEYS = ("agent",)

    agent: BigInt = column("Number of the agent in its run", also_for=ALWAYS)
    name: str = column("Name for people")
    role: str = column("household, corporation, market_maker, government, ...")
    run: strawberry.Private[int] = link()

    @resolver("Its stocks at the end of a window")
    def balances(self, info: Info, window: int) -> list[Balance]:
        found = info.context.loaders.balance.find((self.run, window, int(self.agent)))
        # They are counted, as an agent's balances lead to the agent again: depth alone would multiply.
        return cast("list[Balance]", found.then(info.context.counted(Balance)))


def agent_of(info: Info, run: int, agent: int) -> Any:
    """An agent by number, or a promise of one: all that are not remembered are read together."""
    row = info.context.loaders.known_agent(run, agent)
    return info.context.find(Agent, run, agent) if row is None else Agent.of(row)


def instrument_of(info: Info, run: int, instrument: int) -> Any:
    """An instrument by number, or a promise of one: all that are not remembered are read together."""
    row = info.context.loaders.known_instrument(run, instrument)
    return info.context.find(Instrument, run, instrument) if row is None else Instrument.of(row)


@strawberry.type(description="A decision: a wake-up that weighed options, also when the answer is 'nothing'.")
class Decision(Record):
    """A decision of an agent."""

    TABLE = "agent_decided"
    KEYS = ("agent", "n")

    agent_id: BigInt = column("Who decided", "agent", also_for=ALWAYS)
    n: BigInt = column("Counter of the agent; (agent, n) is the identity", also_for=ALWAYS)
    tick: BigInt = column("Simulated time; unit: ticks (1/60 s at 1x)", also_for=("causes",))
    role: str = column("Role of the agent")
    strategy: str = column("Rule followed")
    action: str = column("What was decided")
    choice: BigInt = column("The quantity decided; its unit depends on role and action")
    inputs: list[BigInt] = column(
        "The three inputs that mattered, by role and action", ("input_1", "input_2", "input_3")
    )
    run: strawberry.Private[int] = link()

    @resolver("Who decided")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @resolver("What it had learnt since its last decision: records that concern it and public ones, the newest first")
    async def causes(self, info: Info, first: int = 20) -> list[Event]:
        return await causes_of(info, self.run, int(self.agent_id), int(self.tick), first)

    @resolver("The orders that follow from it, by number")
    def orders(self, info: Info) -> list[Order]:
        loaders = info.context.loaders
        found = loaders.orders_of(Order.select(loaders.asked), (self.run, int(self.agent_id), int(self.n)))
        return cast("list[Order]", found.then(info.context.counted(Order)))


@strawberry.type(description="An order as it was sent.")
class Order(Record):
    """An order."""

    TABLE = "order_submitted"
    KEYS = ("agent", "n")

    agent_id: BigInt = column("Who sent it", "agent", also_for=ALWAYS)
    n: BigInt = column("Counter of the agent; (agent, n) is the identity", also_for=ALWAYS)
    order: BigInt = column("Order id, unique per agent", also_for=ALWAYS)
    instrument_id: BigInt = column("What was ordered", "instrument", also_for=("instrument",))
    tick: BigInt = column("Simulated time; unit: ticks (1/60 s at 1x)")
    side: str = column("buy or sell")
    type: str = column("limit or market")
    time_in_force: str = column("gtc, ioc or fok", "tif")
    post_only: bool = column("Rejected instead of taking liquidity")
    price: BigInt = column("Limit price, 0 for a market order; unit: price steps")
    quantity: BigInt = column("Quantity ordered; unit: lots")
    expires: BigInt = column("Last tick at which it stands, 0 = until cancelled")
    cash_cap: Money = column("Most that a market buy may spend, 0 = no cap")
    use: str = column("What the buyer buys for")
    tax_rate: BigInt = column("Sales tax on top; unit: 0.0001")
    run: strawberry.Private[int] = link()
    cause: strawberry.Private[int] = link("decision", also_for=("decision",))

    @resolver("Who sent it")
    def agent(self, info: Info) -> Agent | None:
        return agent_of(info, self.run, self.agent_id)

    @resolver("What was ordered")
    def instrument(self, info: Info) -> Instrument | None:
        return instrument_of(info, self.run, self.instrument_id)

    @resolver("The decision that it follows from; null where there was none")
    def decision(self, info: Info) -> Decision | None:
        found: Decision | None = (
            info.context.find(Decision, self.run, self.agent_id, self.cause) if self.cause else None
        )
        return found


@strawberry.type(description="A trade.")
class Trade(Record):
    """A trade between a resting order (maker) and an incoming one (taker)."""

    TABLE = "trade_executed"
    KEYS = ("instrument", "seq")

    instrument_id: BigInt = column("What was traded", "instrument", also_for=ALWAYS)
    seq: BigInt = column("Counter of the instrument's output; (instrument, seq) is the identity", also_for=ALWAYS)
    tick: BigInt = column("Simulated time; unit: ticks (1/60 s at 1x)")
    price: BigInt = column("Unit: price steps of 10^-priceScale")
    quantity: BigInt = column("Unit: lots of 10^-quantityScale")
    notional: Money = column("price x quantity: what the seller receives")
    tax: Money = column("Sales tax that the buyer pays on top")
    taker_side: str = column("Side of the incoming order: buy or sell", also_for=("buyer", "seller"))
    use: str = column("What the buyer buys for: none, intermediate, consumption, ...")
    instrument_class: str = column("good, service, equity or currency")
    maker_agent: BigInt = column("Agent of the resting order", also_for=("buyer", "seller", "maker_order"))
    taker_agent: BigInt = column("Agent of the incoming order", also_for=("buyer", "seller", "taker_order"))
    run: strawberry.Private[int] = link()
    maker_id: strawberry.Private[int] = link("maker_order", also_for=("maker_order",))
    taker_id: strawberry.Private[int] = link("taker_order", also_for=("taker_order",))

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
    def maker_order(self, info: Info) -> Order | None:
        return cast("Order | None", info.context.find(Order, self.run, self.maker_agent, self.maker_id))

    @resolver("The incoming order")
    def taker_order(self, info: Info) -> Order | None:
        return cast("Order | None", info.context.find(Order, self.run, self.taker_agent, self.taker_id))

"""Instruments, agents, trades, orders, decisions, balances: the records behind the figures."""

from __future__ import annotations

from typing import Any, Final, cast

import strawberry

from economy.numbers.units import MONEY_SCALE
from economy.records.events import Account
from economy.scales import BASIS_SCALE
from queries.paging import Info
from queries.records import ALWAYS, ByListing, Record, Row, column, decimal, link
from queries.types import BigInt, DecimalText, resolver
from queries.types_events import Event, causes_of

_ACCOUNTS: Final = {account.name.lower(): account for account in Account}
_PRICE: Final = ByListing(lambda scales, row: scales.price(int(row["instrument"])))
_QUANTITY: Final = ByListing(lambda scales, row: scales.quantity(int(row["instrument"])))
_STOCK: Final = ByListing(lambda scales, row: scales.stock(_ACCOUNTS[row["account"]], int(row["item"])))


def _own_price(row: Row) -> int:
    return int(row["price_scale"])


def _own_quantity(row: Row) -> int:
    return int(row["quantity_scale"])


@strawberry.type(description="Something that is traded.")
class Instrument(Record):
    """An instrument; prices are integers of 10^-priceScale, quantities of 10^-quantityScale."""

    TABLE = "instrument_listed"
    KEYS = ("instrument",)

    instrument: BigInt = column("Number of the instrument in its run", also_for=ALWAYS)
    symbol: str = column("Name for people")
    instrument_class: str = column("good, service, equity or currency")
    item: BigInt = column("Product of a good or service, issuer's agent id of a share, else 0")
    currency: str = column("Currency of its prices")
    price_scale: int = column("Decimal places of a price", also_for=("tick_size", "reference_price"))
    quantity_scale: int = column("Decimal places of a quantity", also_for=("lot_size",))
    tick_size: DecimalText = decimal("Smallest price step; unit: the currency", _own_price)
    tick_size_raw: BigInt = column("The same as an integer; unit: price steps (10^-priceScale)", "tick_size")
    lot_size: DecimalText = decimal("Smallest quantity step; unit: the instrument's", _own_quantity)
    lot_size_raw: BigInt = column("The same as an integer; unit: lots (10^-quantityScale)", "lot_size")
    reference_price: DecimalText = decimal(
        "First valuation price and first reference of bands and auctions, 0 = none; unit: the currency", _own_price
    )
    reference_price_raw: BigInt = column(
        "The same as an integer; unit: price steps (10^-priceScale)", "reference_price"
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
    account: str = column("cash, goods, capital, shares or bonds", also_for=("quantity",))
    item: BigInt = column("Product, issuer or 0", also_for=ALWAYS)
    quantity: DecimalText = decimal(
        "Amount; unit: the currency (cash, bonds), the product's (goods, capital), shares", _STOCK
    )
    quantity_raw: BigInt = column(
        "The same as an integer; unit: 1e-8 of the currency (cash, bonds), lots (goods, capital, shares)", "quantity"
    )
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
        # They are counted, as an agent's balances lead to the agent again: depth alone would multiply.
        return cast("list[Balance]", info.context.find_all(Balance, self.run, window, int(self.agent)))


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
    choice: BigInt = column("The quantity decided, as recorded; its unit depends on role and action")
    inputs: list[BigInt] = column(
        "The three inputs that mattered, as recorded; their units depend on role and action",
        ("input_1", "input_2", "input_3"),
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
        return cast("list[Order]", info.context.find_all(Order, self.run, int(self.agent_id), int(self.n)))


@strawberry.type(description="An order as it was sent.")
class Order(Record):
    """An order."""

    TABLE = "order_submitted"
    KEYS = ("agent", "n")

    agent_id: BigInt = column("Who sent it", "agent", also_for=ALWAYS)
    n: BigInt = column("Counter of the agent; (agent, n) is the identity", also_for=ALWAYS)
    order: BigInt = column("Order id, unique per agent", also_for=ALWAYS)
    instrument_id: BigInt = column("What was ordered", "instrument", also_for=("instrument", "price", "quantity"))
    tick: BigInt = column("Simulated time; unit: ticks (1/60 s at 1x)")
    side: str = column("buy or sell")
    type: str = column("limit or market")
    time_in_force: str = column("gtc, ioc or fok", "tif")
    post_only: bool = column("Rejected instead of taking liquidity")
    price: DecimalText = decimal("Limit price, 0 for a market order; unit: the currency", _PRICE)
    price_raw: BigInt = column("The same as an integer; unit: price steps (10^-priceScale)", "price")
    quantity: DecimalText = decimal("Quantity ordered; unit: the instrument's", _QUANTITY)
    quantity_raw: BigInt = column("The same as an integer; unit: lots (10^-quantityScale)", "quantity")
    expires: BigInt = column("Last tick at which it stands, 0 = until cancelled")
    cash_cap: DecimalText = decimal("Most that a market buy may spend, 0 = no cap; unit: the currency", MONEY_SCALE)
    cash_cap_raw: BigInt = column("The same as an integer; unit: 1e-8 of the currency", "cash_cap")
    use: str = column("What the buyer buys for")
    tax_rate: DecimalText = decimal("Sales tax on top; unit: 1 (0.2 = 20 %)", BASIS_SCALE)
    tax_rate_raw: BigInt = column("The same as an integer; unit: 0.0001", "tax_rate")
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
    price: DecimalText = decimal("Price of a unit; unit: the currency", _PRICE)
    price_raw: BigInt = column("The same as an integer; unit: price steps (10^-priceScale)", "price")
    quantity: DecimalText = decimal("Quantity traded; unit: the instrument's", _QUANTITY)
    quantity_raw: BigInt = column("The same as an integer; unit: lots (10^-quantityScale)", "quantity")
    notional: DecimalText = decimal("price x quantity: what the seller receives; unit: the currency", MONEY_SCALE)
    notional_raw: BigInt = column("The same as an integer; unit: 1e-8 of the currency", "notional")
    tax: DecimalText = decimal("Sales tax that the buyer pays on top; unit: the currency", MONEY_SCALE)
    tax_raw: BigInt = column("The same as an integer; unit: 1e-8 of the currency", "tax")
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

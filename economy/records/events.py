"""In-memory layout of every record whose fields are all integers. Written by `python -m schemas.generate`.

A batch of records is an int64 array of shape (records, fields), columns in the order of the Avro schema, enums as
their index; nothing writes those that are reserved. `Events` maps a record's name to its batch.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
Events: TypeAlias = dict[str, Rows]


class Account(IntEnum):
    CASH = 0
    GOODS = 1
    CAPITAL = 2
    SHARES = 3
    BONDS = 4


class Action(IntEnum):
    NOTHING = 0  # reserved
    PLAN = 1
    PRICE = 2
    OFFER = 3
    BUY_INPUTS = 4
    INVEST = 5
    HIRE = 6
    DISMISS = 7
    APPLY = 8
    QUIT = 9
    CONSUME = 10
    TRADE_SHARES = 11
    QUOTE = 12
    PAY_DIVIDEND = 13
    REVIEW_WAGE = 14
    SET_POLICY = 15
    BORROW = 16
    PAY = 17
    PUBLISH = 18
    FOUND = 19
    CLOSE_DOWN = 20


class ChainScope(IntEnum):
    DECISIONS = 0
    FLOWS = 1
    ORDERS = 2
    TRADES = 3


class CloseReason(IntEnum):
    CANCELLED = 0
    EXPIRED = 1
    UNFILLED = 2
    SELF_TRADE = 3
    RUN_CLOSED = 4  # reserved


class ContractKind(IntEnum):
    EMPLOYMENT = 0


class EndReason(IntEnum):
    QUIT = 0
    DISMISSED = 1
    BANKRUPT = 2


class HaltReason(IntEnum):
    CIRCUIT_BREAKER = 0
    OPERATOR = 1  # reserved


class InstrumentClass(IntEnum):
    GOOD = 0
    SERVICE = 1
    EQUITY = 2
    CURRENCY = 3


class OrderType(IntEnum):
    LIMIT = 0
    MARKET = 1


class Parameter(IntEnum):
    SKILL = 0
    EMPLOYER = 1
    WAGE = 2
    EXPECTED_SALES = 3
    MARKUP = 4
    PRICE = 5  # reserved
    PRODUCT = 6
    LABOUR_COEFFICIENT = 7
    CAPITAL_COEFFICIENT = 8
    RECIPE = 9  # reserved
    CONSUMPTION_SHARE = 10  # reserved
    GOVERNMENT_SHARE = 11  # reserved
    OWNERSHIP = 12
    EXPECTED_INCOME = 13
    WEALTH_PROPENSITY = 14
    CAPITAL_TARGET = 15  # reserved
    EXPECTED_DIVIDEND = 16
    CONSTANT = 17


class Policy(IntEnum):
    INCOME_TAX_RATE = 0
    VAT_RATE = 1  # reserved
    PROFIT_TAX_RATE = 2  # reserved
    POLICY_RATE = 3
    DEPOSIT_RATE = 4
    GOVERNMENT_SPENDING = 5
    REPLACEMENT_RATE = 6  # reserved


class RejectReason(IntEnum):
    MALFORMED = 0
    UNKNOWN_INSTRUMENT = 1
    HALTED = 2
    OFF_TICK = 3
    OFF_LOT = 4
    PRICE_OUT_OF_RANGE = 5
    QUANTITY_OUT_OF_RANGE = 6
    NOTIONAL_OVERFLOW = 7
    OUTSIDE_PRICE_BAND = 8
    DUPLICATE_ORDER = 9
    ORDER_ID_REUSED = 10
    UNKNOWN_ORDER = 11
    NOT_OWNER = 12  # reserved
    POST_ONLY_WOULD_CROSS = 13
    ALREADY_EXPIRED = 14


class Role(IntEnum):
    GOVERNMENT = 0
    CENTRAL_BANK = 1
    STATISTICS_OFFICE = 2
    MARKET_MAKER = 3
    CORPORATION = 4
    HOUSEHOLD = 5
    GATEWAY = 6


class RunMode(IntEnum):
    EPOCHS = 0
    FREE = 1


class Series(IntEnum):
    CONSUMER_PRICE_INDEX = 0
    INFLATION = 1
    UNEMPLOYMENT = 2
    MARKET_WAGE = 3
    GDP = 4
    TOP_DEPOSITS_THRESHOLD = 5
    TOP_DEPOSITS_SUM = 6
    MEAN_CAPITAL = 7
    MEAN_SALES = 8
    STOCK_FUNDAMENTAL = 9


class Side(IntEnum):
    BUY = 0
    SELL = 1


class Strategy(IntEnum):
    RULE = 0
    FULL_COST = 1
    CHARTIST = 2
    BUY_AND_HOLD = 3
    INVENTORY = 4
    INFLATION_TARGETING = 5


class TimeInForce(IntEnum):
    GTC = 0
    IOC = 1
    FOK = 2


class TransferKind(IntEnum):
    WAGE = 0
    BENEFIT = 1
    INCOME_TAX = 2  # reserved
    PROFIT_TAX = 3
    DIVIDEND = 4
    DEPOSIT_INTEREST = 5
    BOND_INTEREST = 6
    CENTRAL_BANK_PROFIT = 7
    BOND_ISSUE = 8
    BOND_REDEMPTION = 9
    FOUNDING = 10
    ESTATE = 11
    TRANSFER = 12  # reserved


class Use(IntEnum):
    NONE = 0
    INTERMEDIATE = 1
    CONSUMPTION = 2
    INVESTMENT = 3
    GOVERNMENT = 4


class AgentBankrupt:
    """The agent cannot go on: its contracts end, its old shares are void, a successor takes over the shell."""

    name: Final = "AgentBankrupt"
    width: Final = 5
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    CAPITAL_NEEDED: Final = 4


class AgentDecided:
    """A wake-up that weighed options, also when the answer is 'nothing'."""

    name: Final = "AgentDecided"
    width: Final = 11
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    ROLE: Final = 4
    STRATEGY: Final = 5
    ACTION: Final = 6
    CHOICE: Final = 7
    INPUT_1: Final = 8
    INPUT_2: Final = 9
    INPUT_3: Final = 10


class BalanceRecorded:
    """Stock of an agent at the end of a window."""

    name: Final = "BalanceRecorded"
    width: Final = 6
    RUN: Final = 0
    WINDOW: Final = 1
    AGENT: Final = 2
    ACCOUNT: Final = 3
    ITEM: Final = 4
    QUANTITY: Final = 5


class BookUpdated:
    """New total at a price level that changed in the epoch (0 = gone)."""

    name: Final = "BookUpdated"
    width: Final = 7
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    SIDE: Final = 4
    PRICE: Final = 5
    QUANTITY: Final = 6


class CapitalDepreciated:
    """Machines wore out."""

    name: Final = "CapitalDepreciated"
    width: Final = 6
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    PRODUCT: Final = 4
    QUANTITY: Final = 5


class ChainSealed:
    """Head of one chain of the run's digest after the last epoch."""

    name: Final = "ChainSealed"
    width: Final = 6
    RUN: Final = 0
    SCOPE: Final = 1
    ID: Final = 2
    HEAD_1: Final = 3
    HEAD_2: Final = 4
    SHARD: Final = 5


class ClockStarted:
    """A clock process begins; readers drop records of older incarnations."""

    name: Final = "ClockStarted"
    width: Final = 2
    RUN: Final = 0
    INCARNATION: Final = 1


class ContractAccepted:
    """An agent answers an offer; the offerer picks in canonical order."""

    name: Final = "ContractAccepted"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    OFFERER: Final = 4
    KIND: Final = 5
    QUANTITY: Final = 6


class ContractEnded:
    """The contract has ended."""

    name: Final = "ContractEnded"
    width: Final = 8
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    EMPLOYER: Final = 4
    WORKER: Final = 5
    KIND: Final = 6
    REASON: Final = 7


class ContractOffered:
    """A standing offer that others may accept until the round's end."""

    name: Final = "ContractOffered"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    KIND: Final = 4
    QUANTITY: Final = 5
    PRICE: Final = 6


class ContractSigned:
    """The contract runs from the next round on."""

    name: Final = "ContractSigned"
    width: Final = 8
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    WORKER: Final = 4
    KIND: Final = 5
    QUANTITY: Final = 6
    PRICE: Final = 7


class EpochClosed:
    """All of a shard's records of the epoch in this partition precede this marker."""

    name: Final = "EpochClosed"
    width: Final = 9
    RUN: Final = 0
    EPOCH: Final = 1
    SHARD: Final = 2
    PARTITION: Final = 3
    COUNT: Final = 4
    DIGEST: Final = 5
    CHAIN: Final = 6
    LAST: Final = 7
    INCARNATION: Final = 8


class EpochMatched:
    """All output of the epoch in this partition precedes this marker."""

    name: Final = "EpochMatched"
    width: Final = 7
    RUN: Final = 0
    EPOCH: Final = 1
    PARTITION: Final = 2
    COUNT: Final = 3
    DIGEST: Final = 4
    CHAIN: Final = 5
    LAST: Final = 6


class GoodsConsumed:
    """Inputs were used up in production."""

    name: Final = "GoodsConsumed"
    width: Final = 6
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    PRODUCT: Final = 4
    QUANTITY: Final = 5


class GoodsProduced:
    """Output went into the producer's finished stock."""

    name: Final = "GoodsProduced"
    width: Final = 6
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    PRODUCT: Final = 4
    QUANTITY: Final = 5


class MoneyTransferred:
    """The payer's account was debited; the payee is credited at the cut."""

    name: Final = "MoneyTransferred"
    width: Final = 8
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    PAYEE: Final = 4
    KIND: Final = 5
    AMOUNT: Final = 6
    WITHHELD: Final = 7


class OpeningBalance:
    """Stock at the run's start."""

    name: Final = "OpeningBalance"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    ACCOUNT: Final = 4
    ITEM: Final = 5
    QUANTITY: Final = 6


class OpeningParameter:
    """Start value of a state variable that is not an account."""

    name: Final = "OpeningParameter"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    PARAMETER: Final = 4
    ITEM: Final = 5
    VALUE: Final = 6


class OrderCancelRequested:
    """An agent wants its order off the book."""

    name: Final = "OrderCancelRequested"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    ORDER: Final = 4
    INSTRUMENT: Final = 5
    DECISION: Final = 6


class OrderClosed:
    """The rest of an order left the book unfilled."""

    name: Final = "OrderClosed"
    width: Final = 8
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    AGENT: Final = 4
    ORDER: Final = 5
    REASON: Final = 6
    QUANTITY: Final = 7


class OrderRejected:
    """An order or cancel request was refused."""

    name: Final = "OrderRejected"
    width: Final = 8
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    AGENT: Final = 4
    N: Final = 5
    ORDER: Final = 6
    REASON: Final = 7


class OrderSubmitted:
    """An order was sent."""

    name: Final = "OrderSubmitted"
    width: Final = 17
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    ORDER: Final = 4
    INSTRUMENT: Final = 5
    SIDE: Final = 6
    TYPE: Final = 7
    TIF: Final = 8
    POST_ONLY: Final = 9
    PRICE: Final = 10
    QUANTITY: Final = 11
    EXPIRES: Final = 12
    CASH_CAP: Final = 13
    USE: Final = 14
    TAX_RATE: Final = 15
    DECISION: Final = 16


class PaceChanged:
    """Speed of the clock."""

    name: Final = "PaceChanged"
    width: Final = 3
    RUN: Final = 0
    INCARNATION: Final = 1
    PACE: Final = 2


class PaymentDue:
    """A claim: the payer's shard is asked to pay."""

    name: Final = "PaymentDue"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    PAYER: Final = 4
    KIND: Final = 5
    AMOUNT: Final = 6


class PolicyChanged:
    """A public body set an instrument of policy."""

    name: Final = "PolicyChanged"
    width: Final = 6
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    POLICY: Final = 4
    VALUE: Final = 5


class PriceBandChanged:
    """The price band moved with its reference: limits outside are rejected."""

    name: Final = "PriceBandChanged"
    width: Final = 6
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    LOW: Final = 4
    HIGH: Final = 5


class PriceFixed:
    """Valuation price: volume-weighted over the interval, floored to a step; kept where nothing traded."""

    name: Final = "PriceFixed"
    width: Final = 6
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    PRICE: Final = 4
    QUANTITY: Final = 5


class RunClosed:
    """In-band end of a run on this partition; leaves a tombstone."""

    name: Final = "RunClosed"
    width: Final = 1
    RUN: Final = 0


class RunOpened:
    """In-band start of a run on this partition."""

    name: Final = "RunOpened"
    width: Final = 8
    RUN: Final = 0
    MODE: Final = 1
    SEED: Final = 2
    SHARDS: Final = 3
    PARTITIONS: Final = 4
    FLOW_PARTITIONS: Final = 5
    EPOCH_TICKS: Final = 6
    LAST_EPOCH: Final = 7


class RunPaused:
    """No further grants until RunResumed."""

    name: Final = "RunPaused"
    width: Final = 2
    RUN: Final = 0
    INCARNATION: Final = 1


class RunResumed:
    """Grants go on."""

    name: Final = "RunResumed"
    width: Final = 2
    RUN: Final = 0
    INCARNATION: Final = 1


class SharesCancelled:
    """A holder's shares of the agent became void."""

    name: Final = "SharesCancelled"
    width: Final = 6
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    HOLDER: Final = 4
    QUANTITY: Final = 5


class SharesIssued:
    """New shares of the agent were given to a holder."""

    name: Final = "SharesIssued"
    width: Final = 6
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    HOLDER: Final = 4
    QUANTITY: Final = 5


class StatisticsPublished:
    """What everybody may know."""

    name: Final = "StatisticsPublished"
    width: Final = 7
    RUN: Final = 0
    TICK: Final = 1
    AGENT: Final = 2
    N: Final = 3
    SERIES: Final = 4
    ITEM: Final = 5
    VALUE: Final = 6


class TradeExecuted:
    """A buyer and a seller met."""

    name: Final = "TradeExecuted"
    width: Final = 15
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    PRICE: Final = 4
    QUANTITY: Final = 5
    MAKER_AGENT: Final = 6
    MAKER_ORDER: Final = 7
    TAKER_AGENT: Final = 8
    TAKER_ORDER: Final = 9
    TAKER_SIDE: Final = 10
    USE: Final = 11
    INSTRUMENT_CLASS: Final = 12
    NOTIONAL: Final = 13
    TAX: Final = 14


class TradingHalted:
    """Trading is interrupted; a call collects limit orders until TradingResumed."""

    name: Final = "TradingHalted"
    width: Final = 7
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    REASON: Final = 4
    PRICE: Final = 5
    UNTIL: Final = 6


class TradingResumed:
    """A call ended with its auction; trading is continuous again."""

    name: Final = "TradingResumed"
    width: Final = 6
    RUN: Final = 0
    INSTRUMENT: Final = 1
    SEQ: Final = 2
    TICK: Final = 3
    PRICE: Final = 4
    QUANTITY: Final = 5

"""Records of the log as they are: of any kind, and those that an agent knew when it decided."""

from __future__ import annotations

import asyncio
import json
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import strawberry

from economy.errors import InputError
from queries.paging import Connection, Info, between, connect, page_of
from queries.records import Row
from queries.types import JSON, BigInt
from schemas.clickhouse import TABLES, Table

if TYPE_CHECKING:
    EventKind = Enum  # its members are the tables of the catalogue, known at run time only
else:
    EventKind = strawberry.enum(
        Enum("EventKind", {name: name for name in TABLES}), description="Kinds of records that the tables hold."
    )
CAUSES: Final = 50  # of one decision at most
_COST: Final = 200  # what the causes of one decision cost, in rows

# Where an agent stands in the records that concern it. Public records reach everybody.
_PARTIES: Final = {
    "TradeExecuted": ("maker_agent", "taker_agent"),
    "MoneyTransferred": ("payee",),
    "PaymentDue": ("payer",),
    "OrderClosed": ("agent",),
    "OrderRejected": ("agent",),
    "ContractAccepted": ("offerer",),
    "ContractSigned": ("worker",),
    "ContractEnded": ("employer", "worker"),
    "SharesIssued": ("holder",),
    "SharesCancelled": ("holder",),
    "StatisticsPublished": (),
    "PolicyChanged": (),
}


@strawberry.type(description="A record of the log.")
class Event:
    """A record."""

    kind: str = strawberry.field(description="Name of the record, as TradeExecuted")
    tick: BigInt | None = strawberry.field(description="Simulated time; unit: ticks; null for records that have none")
    partition: int = strawberry.field(description="Partition of the log that it stands in")
    offset: BigInt = strawberry.field(description="Offset in the partition")
    record: JSON = strawberry.field(description="All fields; integers in full, which JavaScript cuts beyond 2^53")

    @classmethod
    def of(cls, table: Table, row: Row) -> Event:
        """From a row of the table."""
        record = {f.name: row[f.name] for f in table.event.fields}
        return cls(
            kind=table.event.name, tick=BigInt(int(row["tick"])) if "tick" in row else None,
            partition=int(row["kafka_partition"]), offset=BigInt(int(row["kafka_offset"])),
            record=JSON(json.dumps(record)),
        )  # fmt: skip


def columns_of(table: Table) -> str:
    """All columns of a table, enums by name; a table's own columns are named by it, so that filters still mean them."""
    return ", ".join(
        f"toString({table.name}.{f.name}) AS `{f.name}`" if f.symbols else f"{table.name}.{f.name} AS `{f.name}`"
        for f in table.columns
    )


async def events_of(
    info: Info, run: int, kind: EventKind, size: int, after: str | None, agent: int | None, instrument: int | None,
    from_tick: int | None, to_tick: int | None,
) -> Connection[Event]:  # fmt: skip
    """A page of the records of one kind. Raises InputError for a filter that they have no field for."""
    table = TABLES[kind.value]
    only: dict[str, Any] = {}
    wanted = {"agent": agent, "instrument": instrument}
    for name, value in {**wanted, **between(from_tick, to_tick)}.items():
        column = name.partition(" ")[0]
        if value is not None and column not in table.names:
            raise InputError(column, value, f"{kind.value} has no field {column}: leave the filter out")
        only[f"{table.name}.{name}"] = value
    keys = table.identity[1:]
    # Keys are integers in cursors; the number of an enum stands beside its name.
    enums = {f.name for f in table.columns if f.symbols}
    numbered = {key: f"{key}_number" if key in enums else key for key in keys}
    extra = "".join(f", toInt64({table.name}.{k}) AS {n}" for k, n in numbered.items() if k != n)
    texts = [k for k in keys if next(f.type for f in table.columns if f.name == k) == "string"]
    if texts:
        raise InputError("kind", kind.value, "its identity is no number: read the table with SQL")
    ordered = tuple(numbered.values())
    rows = await page_of(info, run, table.name, columns_of(table) + extra, ordered, size, after, only)
    return connect(rows, size, after, ordered, lambda row: Event.of(table, row))


async def causes_of(info: Info, run: int, agent: int, tick: int, first: int) -> list[Event]:
    """What reached an agent between the cut that its last decision before knew and the one that this decision knew.

    An agent that acts in an epoch knows the world as of the end of the epoch before.
    """
    if not 1 <= first <= CAUSES:
        raise InputError("first", first, f"ask for 1 to {CAUSES} records")
    info.context.spend(first + _COST)
    known = info.context.runs.get(run)
    length = int(known.row["epoch_ticks"]) if known is not None else 1
    cut = tick - tick % max(1, length)
    loaders = info.context.loaders
    before = await loaders.rows(
        "SELECT max(tick) AS last, count() AS number FROM agent_decided WHERE run = {run:Int64} "
        "AND agent = {agent:Int64} AND tick < {cut:Int64}",
        run=run, agent=agent, cut=cut,
    )  # fmt: skip
    last = int(before[0]["last"]) if int(before[0]["number"]) else 0
    start = last - last % max(1, length)
    found = await asyncio.gather(
        *(_reached(info, run, TABLES[name], parties, agent, start, cut, first) for name, parties in _PARTIES.items())
    )
    every = [event for events in found for event in events]
    every.sort(key=lambda e: (-cast("int", e.tick), e.kind, int(e.partition), int(e.offset)))
    return every[:first]


async def _reached(
    info: Info, run: int, table: Table, parties: tuple[str, ...], agent: int, start: int, cut: int, first: int
) -> list[Event]:
    concerns = f"AND {{agent:Int64}} IN ({', '.join(f'{table.name}.{p}' for p in parties)})" if parties else ""
    rows = await info.context.loaders.rows(
        f"SELECT {columns_of(table)} FROM {table.name} FINAL WHERE {table.name}.run = {{run:Int64}} "
        f"AND {table.name}.tick >= {{start:Int64}} AND {table.name}.tick < {{cut:Int64}} {concerns} "
        f"ORDER BY {table.name}.tick DESC LIMIT {{first:UInt32}}",
        run=run, start=start, cut=cut, first=first, **({"agent": agent} if parties else {}),
    )  # fmt: skip
    return [Event.of(table, row) for row in rows]

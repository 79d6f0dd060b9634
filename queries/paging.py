"""Pages of records (relay connections by key), and what the resolvers of one request share."""

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
from queries.loaders import Loaders
from queries.records import Record, Row
from queries.types import DecimalText, money_count, resolver
from schemas.clickhouse import TABLES

PAGE: Final = 500  # records in one page at most
T = TypeVar("T")
R = TypeVar("R", bound=Record)


@dataclass
class Context:
    """What the resolvers of one request share."""

    loaders: Loaders
    fingerprint: Callable[[int], Awaitable[Fingerprint | None]]
    live: Any = None
    volatile: bool = False  # the answer depends on more than finished runs
    alone: bool = False  # the context of one operation, not of all on a websocket
    rows_left: int = ROWS

    @property
    def runs(self) -> dict[int, Fingerprint]:
        """The runs that the answer depends on, as they were before they were read."""
        return self.loaders.runs

    def find(self, kind: type[R], *key: int) -> Any:
        """The promise of a record by its key, as Loaders.find: a resolver returns it, and the executor awaits it."""
        return self.loaders.find(kind, key)

    def find_all(self, kind: type[R], *key: int) -> Any:
        """The promise of the records of a key, as Loaders.find_all, counted as `spend` does."""

        def counted(found: list[R]) -> list[R]:
            self.spend(len(found))
            return found

        return self.loaders.find_all(kind, (key[0], key[1], key[2])).then(counted)

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
        text = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
        parts = tuple(int(p) for p in text.split(":"))
    except (binascii.Error, ValueError):
        parts = ()
    # Decoding overlooks what no encoding writes: bits beyond the last byte, signs, spaces and zeros before a number.
    if len(parts) != count or any(abs(p) >= 2**63 for p in parts) or encode_cursor(*parts) != cursor:
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
    *, repeats: bool = True,
) -> list[Row]:  # fmt: skip
    """Up to first + 1 rows of a run after the cursor, in the order of `keys`: one statement, found by primary key.

    `only` filters: an expression that equals its value, or a condition with a ? for it; null values filter nothing.
    Records may stand twice in their table until it is merged, equal in all that they say; results of jobs never do.
    """
    clauses = ["run = {run:Int64}"]
    parameters: dict[str, Any] = {"run": int(run), "limit": first + 1}
    for i, (name, value) in enumerate(only.items()):
        if value is not None:
            bound = f"{{only_{i}:{'String' if isinstance(value, str) else 'Int64'}}}"
            clauses.append(name.replace("?", bound) if "?" in name else f"{name} = {bound}")
            parameters[f"only_{i}"] = value
    if after is not None:
        values = decode_cursor(after, len(keys))
        parameters |= {f"after_{i}": value for i, value in enumerate(values)}
        # Written out, as ClickHouse does not skip by primary key for a comparison of tuples.
        later = [
            " AND ".join([*(f"{keys[j]} = {{after_{j}:Int64}}" for j in range(i)), f"{keys[i]} > {{after_{i}:Int64}}"])
            for i in range(len(keys))
        ]
        clauses.append(f"({' OR '.join(f'({part})' for part in later)})")
    order = ", ".join(keys)
    once = f"LIMIT 1 BY {order} " if repeats else ""  # cheaper than FINAL, as rows are read in this order
    return await info.context.loaders.rows(
        f"SELECT {columns} FROM {table} WHERE {' AND '.join(clauses)} ORDER BY {order} {once}LIMIT {{limit:UInt32}}",
        **parameters,
    )


async def records(info: Info, run: int, kind: type[R], first: int, after: str | None, only: Row) -> Connection[R]:
    """A page of the records of a run in the order of their keys, as `page_of` reads them or from the run's copy."""
    size, keys, loaders = page_size(info, first), kind.KEYS, info.context.loaders
    chosen = {name: value for name, value in only.items() if value is not None}
    # What a copy finds without looking at records that are not asked for.
    copy = loaders.copy(run, kind.TABLE) if chosen.keys() <= {keys[0]} else None
    if copy is None:
        rows = await page_of(info, run, kind.TABLE, kind.select(loaders.asked), keys, size, after, chosen)
    else:
        cursor = None if after is None else decode_cursor(after, len(keys))
        rows = copy.page([int(value) for value in chosen.values()], cursor, size + 1)
    scales = await loaders.scales_for(kind, int(run))
    return connect(rows, size, after, keys, lambda row: kind.of(row, scales))


def named(event: str, column: str, word: str | None) -> dict[str, Any]:
    """The filter of an event's field whose words are known.

    Raises InputError naming the known words for any other.
    """
    of = TABLES[event]
    known = next(f.symbols for f in of.columns if f.name == column)
    if word is not None and word not in known:
        raise InputError(column, word, f"known are {', '.join(known)}")
    return {f"toString({of.name}.{column})": word}


def between(from_tick: int | None, to_tick: int | None) -> dict[str, Any]:
    """The filter of a span of simulated time, both ends included."""
    return {"tick >= ?": from_tick, "tick <= ?": to_tick}


def worth(column: str, **bounds: DecimalText | None) -> dict[str, Any]:
    """The filter of a span of amounts of money in the currency, both ends included; `bounds` are named as arguments:
    the lowest, then the highest.

    Raises InputError naming the argument for an amount that is finer than 1e-8 or beyond what a column holds.
    """
    counts = {name: None if text is None else money_count(name, text) for name, text in bounds.items()}
    return {f"{column} {sign} ?": value for sign, value in zip((">=", "<="), counts.values(), strict=True)}

"""Reading for GraphQL: one SQL statement per list, and batched look-ups of single records (no query per item)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, TypeVar

from economy.records.events import InstrumentClass
from economy.scales import Listing, Scales
from queries.cache import Fingerprint
from queries.copies import Copies, Copy
from queries.lookups import Lookups, Promise
from queries.memory import Memory
from queries.policy import EVERYTHING, Scope
from queries.reader import Reader
from queries.records import Asked, Record, Row

V = TypeVar("V")
R = TypeVar("R", bound=Record)
Key = tuple[int, int, int]  # run, and two numbers within it

# Tables that jobs publish to, each with the columns of their lineage.
RESULTS: Final = ("batch_indicators", "liquidity", "price_stability", "agent_performance", "reconciliation")
_AT_ONCE: Final = 8  # statements in flight: more would only queue inside ClickHouse
INSTRUMENTS: Final = 10_000  # of one run at most
AGENTS: Final = 1_000  # neighbours that are read and remembered together
_BLOCKS: Final = 2  # of neighbours, at most, for the agents of one request: scattered ones are read by themselves

# Estimated bytes in memory.
_ROW: Final = 1_000
_BALANCE: Final = 200
_SCALE: Final = 200

RUN_COLUMNS: Final = (
    "run, toString(scenario) AS scenario, seed, toString(state) AS state, digest, root, epochs, ticks, shards, "
    "partitions, flow_partitions, epoch_ticks, rules_version, digest_version, parent, parent_epoch, config, "
    "environment, start_offsets, end_offsets, reason, toString(started_at) AS started_at, "
    "toString(finished_at) AS finished_at"
)
AGENT_COLUMNS: Final = "run, agent, name, toString(role) AS role"
BALANCE_COLUMNS: Final = "run, window, agent, toString(account) AS account, item, quantity"
INSTRUMENT_COLUMNS: Final = (
    "run, instrument, symbol, toString(instrument_class) AS instrument_class, item, currency, price_scale, "
    "quantity_scale, tick_size, lot_size, reference_price, fixing_ticks, band_bp, breaker_bp, halt_ticks, open_ticks, "
    "auction_pressure"
)


class Loaders:
    """The reads of one request: statements run in threads, a few at once; single records are batched and remembered.

    What is read of a run that never changes again is remembered for later requests too, under the scope and the
    run's fingerprint, which `runs` holds as it was before anything else was read.
    """

    def __init__(
        self, reader: Reader, memory: Memory | None = None, scope: Scope = EVERYTHING, copies: Copies | None = None,
        executor: Executor | None = None,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._executor = executor  # of the statements, None = the event loop's
        self._copies = copies
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.memory = memory if memory is not None else Memory(0)
        self._scope = scope
        self.asked: Asked | None = None  # fields of the request; None = not known, so every column is read
        self.runs: dict[int, Fingerprint] = {}
        self.statements = 0
        self._finders: dict[type[Record], Lookups[Any]] = {}
        self._readers: dict[str, Callable[[type[Record], list[Any]], Awaitable[Sequence[Row | None]]]] = {
            "instrument_listed": self._instruments, "agent_founded": self._agents,
            "order_submitted": self._orders, "agent_decided": self._decisions,
        }  # fmt: skip
        self._list_finders: dict[type[Record], Lookups[Any]] = {}
        self._list_readers: dict[str, Callable[[type[Record], list[Any]], Awaitable[Sequence[Sequence[Row]]]]] = {
            "order_submitted": self._orders_of, "balance_recorded": self._balances,
        }  # fmt: skip
        self._scales: dict[int, Scales] = {}

    async def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Run one SELECT."""
        async with self._gate:
            self.statements += 1
            reading = asyncio.get_running_loop().run_in_executor(self._executor, self._reader.rows, sql, parameters)
            return list(await reading)

    def place(self, run: int, *what: Any) -> tuple[Any, ...] | None:
        """Under what something of a run is remembered; None while the run may change."""
        known = self._final(run)
        return None if known is None else (self._scope, run, known, *what)

    def copy(self, run: int, table: str) -> Copy | None:
        """The copy of a run's records, None when the tables must be asked; the more often, the sooner it is made."""
        known = self._final(run)
        if self._copies is None or known is None:
            return None
        return self._copies.get(self._scope, run, known.digest, table)

    def _final(self, run: int) -> Fingerprint | None:
        known = self.runs.get(run)
        return known if known is not None and known.final else None

    async def remembered(
        self, run: int, what: tuple[Any, ...], load: Callable[[], Awaitable[V]], size: Callable[[V], int]
    ) -> V:
        """What `load` reads of a run, once for all requests while the run is final."""
        place = self.place(run, *what)
        return await load() if place is None else await self.memory.read(place, load, size)

    def find(self, kind: type[R], key: Any) -> Promise[R | None]:
        """A record by (run, number of the agent or instrument) or (run, agent, number of the order or decision).

        All that are asked for before it is awaited are read together.
        """
        finder = self._finders.get(kind)
        if finder is None:
            finder = self._finders[kind] = Lookups(partial(self._found, kind))
        return finder.find(key)

    async def _found(self, kind: type[R], keys: list[Any]) -> list[R | None]:
        rows = await self._readers[kind.TABLE](kind, keys)
        scales = await self._scales_of(kind, keys)
        return [None if row is None else kind.of(row, scales[key[0]]) for key, row in zip(keys, rows, strict=True)]

    def find_all(self, kind: type[R], key: Key) -> Promise[list[R]]:
        """Orders by (run, agent, n of the decision that they follow from), or balances by (run, window, agent)."""
        finder = self._list_finders.get(kind)
        if finder is None:
            finder = self._list_finders[kind] = Lookups(partial(self._all, kind))
        return finder.find(key)

    async def _all(self, kind: type[R], keys: list[Any]) -> list[list[R]]:
        rows = await self._list_readers[kind.TABLE](kind, keys)
        scales = await self._scales_of(kind, keys)
        return [[kind.of(row, scales[key[0]]) for row in found] for key, found in zip(keys, rows, strict=True)]

    async def _scales_of(self, kind: type[Record], keys: Sequence[Any]) -> dict[int, Scales | None]:
        return {run: await self.scales_for(kind, run) for run in sorted({key[0] for key in keys})}

    async def scales(self, run: int) -> Scales:
        """The decimals of what a run lists, read once by a request."""

        async def load() -> Scales:
            return Scales.of(map(_listing, (await self.instruments(run)).values()))

        known = self._scales.get(run)
        if known is None:
            known = await self.remembered(run, ("scales",), load, lambda found: _ROW + _SCALE * len(found.prices))
            self._scales[run] = known
        return known

    async def scales_for(self, kind: type[Record], run: int) -> Scales | None:
        """The same where what the request asks of the records of a kind needs them."""
        return await self.scales(run) if kind.listed(self.asked) else None

    async def _pairs(self, kind: type[Record], keys: Sequence[Key], second: str = "n") -> dict[Key, Row]:
        """Records by (run, agent, second); the keys of one request rarely span runs, so each run is one statement."""
        known: dict[Key, Row] = {}
        for run in sorted({key[0] for key in keys}):
            wanted = sorted({(int(a), int(b)) for of, a, b in keys if of == run})
            copy = self.copy(run, kind.TABLE) if second == "n" else None
            if copy is not None:
                known.update({(run, *key): row for key in wanted if (row := copy.find(key)) is not None})
                continue
            # A record may stand twice until its table is merged, equal in every field. The numbers stand in the text,
            # as what is bound travels in the address, escaped character by character.
            rows = await self.rows(
                f"SELECT {kind.select(self.asked)} FROM {kind.TABLE} PREWHERE run = {{run:Int64}} "
                f"AND (agent, {second}) IN ({', '.join(map(str, wanted))})",
                run=run,
            )
            known.update({(run, int(row["agent"]), int(row[second])): row for row in rows})
        return known

    def known_instrument(self, run: int, instrument: int) -> Row | None:
        """An instrument that is remembered."""
        place = self.place(run, "instruments")
        found: dict[int, Row] | None = None if place is None else self.memory.get(place)
        return None if found is None else found.get(instrument)

    def known_agent(self, run: int, agent: int) -> Row | None:
        """An agent that is remembered."""
        place = self.place(run, "agent", agent)
        found: Row | None = None if place is None else self.memory.get(place)
        return found

    async def instruments(self, run: int) -> dict[int, Row]:
        """All instruments of a run by number."""

        async def load() -> dict[int, Row]:
            rows = await self.rows(
                f"SELECT {INSTRUMENT_COLUMNS} FROM instrument_listed FINAL WHERE run = {{run:Int64}} "
                f"ORDER BY instrument LIMIT {INSTRUMENTS}",
                run=run,
            )
            return {int(row["instrument"]): row for row in rows}

        return await self.remembered(run, ("instruments",), load, lambda found: _ROW * len(found))

    async def _instruments(self, _: type[Record], keys: list[Any]) -> Sequence[Row | None]:
        known = {run: await self.instruments(run) for run in sorted({key[0] for key in keys})}
        return [known[run].get(instrument) for run, instrument in keys]

    async def _agents(self, _: type[Record], keys: list[Any]) -> Sequence[Row | None]:
        places = {key: self.place(key[0], "agent", key[1]) for key in keys}
        known: dict[Any, Row | None] = {key: self.memory.get(place) for key, place in places.items() if place}
        for run in sorted({key[0] for key in keys if known.get(key) is None}):
            rows = await self.rows(
                f"SELECT {AGENT_COLUMNS} FROM agent_founded FINAL WHERE run = {{run:Int64}} "
                "AND agent IN {agents:Array(Int64)}",
                run=run, agents=sorted({k[1] for k in keys if k[0] == run and known.get(k) is None}),
            )  # fmt: skip
            for row in rows:
                key = (run, int(row["agent"]))
                known[key] = row
                if places[key] is not None:
                    self.memory.put(places[key], row, _ROW)
        return [known.get(key) for key in keys]

    async def _orders(self, kind: type[Record], keys: list[Key]) -> Sequence[Row | None]:
        # Agents of a scenario name an order by the number of its record, which is found by primary key; whoever wrote
        # a tape names it as he likes.
        numbered = await self._pairs(kind, keys)
        known = {key: row for key, row in numbered.items() if int(row["order"]) == key[2]}
        named = [key for key in keys if key not in known]
        if named:
            known |= await self._pairs(kind, named, "order")
        return [known.get(key) for key in keys]

    async def _decisions(self, kind: type[Record], keys: list[Key]) -> Sequence[Row | None]:
        known = await self._pairs(kind, keys)
        return [known.get(key) for key in keys]

    async def _orders_of(self, kind: type[Record], keys: list[Key]) -> list[list[Row]]:
        known: dict[Key, list[Row]] = {}
        for run in sorted({key[0] for key in keys}):
            wanted = sorted({key[1:] for key in keys if key[0] == run})
            rows = await self.rows(
                f"SELECT {kind.select(self.asked)}, decision AS caused_by FROM order_submitted FINAL "
                "WHERE run = {run:Int64} "
                "AND agent IN {agents:Array(Int64)} AND (agent, decision) IN {pairs:Array(Tuple(Int64, Int64))} "
                "ORDER BY agent, n",
                run=run, agents=sorted({agent for agent, _ in wanted}), pairs=wanted,
            )  # fmt: skip
            for row in rows:
                known.setdefault((run, int(row["agent"]), int(row["caused_by"])), []).append(row)
        return [known.get(key, []) for key in keys]

    async def agents_after(self, run: int, after: int, limit: int) -> list[Row]:
        """Up to `limit` agents of a run that never changes again, with numbers above `after`."""

        async def last() -> int:
            rows = await self.rows("SELECT max(agent) AS last FROM agent_founded WHERE run = {run:Int64}", run=run)
            return int(rows[0]["last"])

        end = await self.remembered(run, ("last agent",), last, lambda _: _ROW)
        found: list[Row] = []
        for block in range(max(0, after + 1) // AGENTS, end // AGENTS + 1):
            found += [row for row in await self._neighbours(run, block) if int(row["agent"]) > after]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _neighbours(self, run: int, block: int) -> list[Row]:
        """The agents of a block by number."""
        return await self.remembered(
            run, ("agents", block),
            lambda: self.rows(
                f"SELECT {AGENT_COLUMNS} FROM agent_founded WHERE run = {{run:Int64}} AND agent >= {{from:Int64}} "
                "AND agent < {to:Int64} ORDER BY agent LIMIT 1 BY agent",
                **{"run": run, "from": AGENTS * block, "to": AGENTS * (block + 1)},
            ),
            lambda rows: _ROW * (1 + len(rows)),
        )  # fmt: skip

    async def _stocks(self, run: int, window: int, block: int) -> dict[int, list[tuple[str, int, int]]]:
        """Agent -> (account, item, quantity) for a block of neighbours at the end of a window."""
        rows = await self.rows(
            "SELECT agent, groupArray(toString(account)) AS accounts, groupArray(item) AS items, groupArray(quantity) "
            "AS quantities FROM (SELECT agent, account, item, quantity FROM balance_recorded FINAL "
            "WHERE run = {run:Int64} AND window = {window:Int64} AND agent >= {from:Int64} AND agent < {to:Int64} "
            "ORDER BY agent, toString(account), item) GROUP BY agent",
            **{"run": run, "window": window, "from": AGENTS * block, "to": AGENTS * (block + 1)},
        )
        return {
            int(row["agent"]): [
                (account, int(item), int(quantity))
                for account, item, quantity in zip(row["accounts"], row["items"], row["quantities"], strict=True)
            ]
            for row in rows
        }

    async def _known_balances(
        self, run: int, window: int, agents: list[int], blocks: list[int]
    ) -> dict[tuple[int, int, int], list[Row]]:
        known: dict[tuple[int, int, int], list[Row]] = {}
        for block in blocks:
            stocks = await self.remembered(
                run, ("balances", window, block), partial(self._stocks, run, window, block),
                lambda found: _ROW + _BALANCE * sum(1 + len(held) for held in found.values()),
            )  # fmt: skip
            for agent in agents:
                if agent // AGENTS == block:
                    known[run, window, agent] = [
                        {"run": run, "window": window, "agent": agent, "account": a, "item": i, "quantity": q}
                        for a, i, q in stocks.get(agent, ())
                    ]
        return known

    async def _balances(self, _: type[Record], keys: list[Any]) -> list[list[Row]]:
        """Stocks by (run, window, agent); one statement per window that a request names."""
        known: dict[tuple[int, int, int], list[Row]] = {}
        for run, window in sorted({key[:2] for key in keys}):
            agents = sorted({k[2] for k in keys if k[:2] == (run, window)})
            blocks = sorted({agent // AGENTS for agent in agents})
            if self.place(run) is not None and len(blocks) <= _BLOCKS:
                known |= await self._known_balances(run, window, agents, blocks)
                continue
            rows = await self.rows(
                f"SELECT {BALANCE_COLUMNS} FROM balance_recorded FINAL WHERE run = {{run:Int64}} "
                "AND window = {window:Int64} AND agent IN {agents:Array(Int64)} ORDER BY agent, account, item",
                run=run, window=window, agents=agents,
            )  # fmt: skip
            for row in rows:
                known.setdefault((run, window, int(row["agent"])), []).append(row)
        return [known.get(key, []) for key in keys]


def _listing(row: Row) -> Listing:
    return Listing(
        int(row["instrument"]), InstrumentClass[str(row["instrument_class"]).upper()], int(row["item"]),
        int(row["price_scale"]), int(row["quantity_scale"]),
    )  # fmt: skip


def fingerprint(reader: Reader, run: int) -> Fingerprint | None:
    """What a run's answers depend on, None when there is no such run: its state, digest and newest batch results."""
    newest = ", ".join(f"(SELECT max(computed_at) FROM {table} WHERE run = {{run:Int64}})" for table in RESULTS)
    rows = reader.rows(
        f"SELECT {RUN_COLUMNS}, toString(arrayMax([{newest}])) AS computed FROM runs FINAL WHERE run = {{run:Int64}}",
        {"run": run},
    )
    return Fingerprint(rows[0]["state"], rows[0]["digest"], str(rows[0]["computed"]), rows[0]) if rows else None

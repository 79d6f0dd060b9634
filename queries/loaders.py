"""Reading for GraphQL: one SQL statement per list, and batched look-ups of single records (no query per item)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from strawberry.dataloader import DataLoader

from queries.cache import Fingerprint

Row = dict[str, Any]

# Tables that jobs publish to, each with the columns of their lineage.
RESULTS: Final = ("batch_indicators", "liquidity", "price_stability", "agent_performance", "reconciliation")
_AT_ONCE: Final = 8  # statements in flight: more would only queue inside ClickHouse
BATCH: Final = 500  # look-ups in one statement

RUN_COLUMNS: Final = (
    "run, toString(scenario) AS scenario, seed, toString(state) AS state, digest, root, epochs, ticks, shards, "
    "partitions, flow_partitions, epoch_ticks, rules_version, digest_version, parent, parent_epoch, config, "
    "environment, start_offsets, end_offsets, reason, toString(started_at) AS started_at, "
    "toString(finished_at) AS finished_at"
)
TRADE_COLUMNS: Final = (
    "run, instrument, seq, tick, price, quantity, maker_agent, maker_order, taker_agent, taker_order, "
    "toString(taker_side) AS taker_side, toString(use) AS use, toString(instrument_class) AS instrument_class, "
    "notional, tax"
)
ORDER_COLUMNS: Final = (
    "run, agent, n, tick, order, instrument, toString(side) AS side, toString(type) AS type, toString(tif) AS tif, "
    "post_only, price, quantity, expires, cash_cap, toString(use) AS use, tax_rate, decision"
)
DECISION_COLUMNS: Final = (
    "run, agent, n, tick, toString(role) AS role, toString(strategy) AS strategy, toString(action) AS action, "
    "choice, input_1, input_2, input_3"
)
AGENT_COLUMNS: Final = "run, agent, name, toString(role) AS role"
BALANCE_COLUMNS: Final = "run, window, agent, toString(account) AS account, item, quantity"
INSTRUMENT_COLUMNS: Final = (
    "run, instrument, symbol, toString(instrument_class) AS instrument_class, item, currency, price_scale, "
    "quantity_scale, tick_size, lot_size, reference_price"
)


class Reader(Protocol):
    """What reads the tables: queries.store in a deployment, ClickHouse's engine in-process in tests."""

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        """The result of a SELECT; `{name:Type}` in the text are bound by the server."""


def in_list(name: str, kind: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    """SQL text and parameters of `(v1, v2, ...)`, every value bound by the server."""
    names = [f"{name}_{i}" for i in range(len(values))]
    return f"({', '.join(f'{{{n}:{kind}}}' for n in names)})", dict(zip(names, values, strict=True))


class Loaders:
    """The reads of one request: statements run in threads, a few at once; single records are batched and remembered."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self.statements = 0
        self.instrument = self._loader(self._instruments)
        self.agent = self._loader(self._agents)
        self.order = self._loader(self._orders)
        self.decision = self._loader(self._decisions)
        self.run = self._loader(self._runs)
        self.balance: DataLoader[Any, list[Row]] = DataLoader(load_fn=self._balances, max_batch_size=BATCH)

    async def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """Run one SELECT."""
        async with self._gate:
            self.statements += 1
            return await asyncio.to_thread(self._reader.rows, sql, parameters)

    @staticmethod
    def _loader(load: Callable[[list[Any]], Awaitable[Sequence[Row | None]]]) -> DataLoader[Any, Row | None]:
        return DataLoader(load_fn=load, max_batch_size=BATCH)

    async def _runs(self, keys: list[int]) -> Sequence[Row | None]:
        text, values = in_list("run", "Int64", keys)
        rows = await self.rows(f"SELECT {RUN_COLUMNS} FROM runs FINAL WHERE run IN {text}", **values)
        known = {int(row["run"]): row for row in rows}
        return [known.get(key) for key in keys]

    async def _pairs(self, table: str, columns: str, fields: tuple[str, str], keys: list[Any]) -> Sequence[Row | None]:
        """Records by (run, a, b); the keys of one request rarely span runs, so each run is one statement."""
        known: dict[tuple[int, int, int], Row] = {}
        first, second = fields
        for run in sorted({key[0] for key in keys}):
            wanted = sorted({key[1:] for key in keys if key[0] == run})
            # Both lists in the text let ClickHouse skip by primary key; pairs are chosen below.
            a_text, a_values = in_list("a", "Int64", sorted({a for a, _ in wanted}))
            b_text, b_values = in_list("b", "Int64", sorted({b for _, b in wanted}))
            rows = await self.rows(
                f"SELECT {columns} FROM {table} FINAL WHERE run = {{run:Int64}} AND {first} IN {a_text} "
                f"AND {second} IN {b_text}",
                run=run, **a_values, **b_values,
            )  # fmt: skip
            known.update({(run, int(row[first]), int(row[second])): row for row in rows})
        return [known.get(key) for key in keys]

    async def _singles(self, table: str, columns: str, field: str, keys: list[Any]) -> Sequence[Row | None]:
        known: dict[tuple[int, int], Row] = {}
        for run in sorted({key[0] for key in keys}):
            text, values = in_list("id", "Int64", sorted({key[1] for key in keys if key[0] == run}))
            sql = f"SELECT {columns} FROM {table} FINAL WHERE run = {{run:Int64}} AND {field} IN {text}"
            known.update({(run, int(row[field])): row for row in await self.rows(sql, run=run, **values)})
        return [known.get(key) for key in keys]

    async def _instruments(self, keys: list[Any]) -> Sequence[Row | None]:
        return await self._singles("instrument_listed", INSTRUMENT_COLUMNS, "instrument", keys)

    async def _agents(self, keys: list[Any]) -> Sequence[Row | None]:
        return await self._singles("agent_founded", AGENT_COLUMNS, "agent", keys)

    async def _orders(self, keys: list[Any]) -> Sequence[Row | None]:
        return await self._pairs("order_submitted", ORDER_COLUMNS, ("agent", "order"), keys)

    async def _decisions(self, keys: list[Any]) -> Sequence[Row | None]:
        return await self._pairs("agent_decided", DECISION_COLUMNS, ("agent", "n"), keys)

    async def _balances(self, keys: list[Any]) -> list[list[Row]]:
        """Stocks by (run, window, agent); one statement per window that a request names."""
        known: dict[tuple[int, int, int], list[Row]] = {}
        for run, window in sorted({key[:2] for key in keys}):
            text, values = in_list("agent", "Int64", sorted({k[2] for k in keys if k[:2] == (run, window)}))
            rows = await self.rows(
                f"SELECT {BALANCE_COLUMNS} FROM balance_recorded FINAL WHERE run = {{run:Int64}} "
                f"AND window = {{window:Int64}} AND agent IN {text} ORDER BY agent, account, item",
                run=run, window=window, **values,
            )  # fmt: skip
            for row in rows:
                known.setdefault((run, window, int(row["agent"])), []).append(row)
        return [known.get(key, []) for key in keys]

    async def figures(
        self, run: int, names: Sequence[str], first: int, after: int
    ) -> dict[int, dict[tuple[str, str], int]]:
        """Window -> (source, indicator) -> value, for indicators without items; `first` windows after `after`."""
        text, values = in_list("name", "String", names)
        where = (
            f"run = {{run:Int64}} AND item = 0 AND indicator IN {text} "
            "AND window > {after:Int32} AND window <= {last:Int32}"
        )
        rows = await self.rows(
            f"SELECT 'stream' AS source, window, indicator, toString(any(value)) AS value FROM stream_indicators "
            f"WHERE {where} GROUP BY window, indicator UNION ALL "
            f"SELECT 'batch' AS source, window, indicator, toString(argMax(value, computed_at)) AS value "
            f"FROM batch_indicators WHERE {where} GROUP BY window, indicator",
            run=run, after=after, last=after + first, **values,
        )  # fmt: skip
        found: dict[int, dict[tuple[str, str], int]] = {}
        for row in rows:
            found.setdefault(int(row["window"]), {})[row["source"], row["indicator"]] = int(row["value"])
        return dict(sorted(found.items()))

    async def series(self, run: int, names: Sequence[str], source: str) -> dict[tuple[str, int], list[tuple[int, int]]]:
        """(indicator, item) -> [(window, value), ...], ascending: one statement for all."""
        text, values = in_list("name", "String", names)
        table, chosen = {
            "stream": ("stream_indicators", "any(value)"),
            "batch": ("batch_indicators", "argMax(value, computed_at)"),
        }[source]
        rows = await self.rows(
            f"SELECT indicator, item, window, toString({chosen}) AS value FROM {table} WHERE run = {{run:Int64}} "
            f"AND indicator IN {text} GROUP BY indicator, item, window ORDER BY indicator, item, window",
            run=run, **values,
        )  # fmt: skip
        found: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for row in rows:
            key = (row["indicator"], int(row["item"]))
            found.setdefault(key, []).append((int(row["window"]), int(row["value"])))
        return found


def fingerprint(reader: Reader, run: int) -> Fingerprint | None:
    """What a run's answers depend on, None when there is no such run: its state, digest and newest batch results."""
    newest = ", ".join(f"(SELECT max(computed_at) FROM {table} WHERE run = {{run:Int64}})" for table in RESULTS)
    rows = reader.rows(
        f"SELECT toString(state) AS state, digest, toString(arrayMax([{newest}])) AS computed "
        "FROM runs FINAL WHERE run = {run:Int64}",
        {"run": run},
    )
    return Fingerprint(rows[0]["state"], rows[0]["digest"], str(rows[0]["computed"])) if rows else None

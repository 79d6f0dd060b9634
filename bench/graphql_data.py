"""The tables of a synthetic run, written by ClickHouse itself: records that refer to each other as a real run's do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from economy import measures
from queries.store import Store
from schemas.clickhouse_server import ClickHouseConfig

RUN: Final = 1
AGENTS: Final = 1_000
INSTRUMENTS: Final = 20
WINDOWS: Final = 40
TICKS: Final = 1_000_000
CHUNK: Final = 1_000_000  # rows of one INSERT

# Of all events; balances are as many as agents and windows make.
SHARES: Final = {"agent_decided": 0.25, "order_submitted": 0.35, "trade_executed": 0.25, "book_updated": 0.15}

# Agent i % AGENTS acts for the k-th time, k = i / AGENTS. Its decisions have n = 3k + 1, its orders n = order = 3k + 2.
_SELECTS: Final = {
    "agent_decided": """SELECT {run} AS run, intDiv(number * {ticks}, {rows}) AS tick, number % {agents} AS agent,
        3 * intDiv(number, {agents}) + 1 AS n, 'household' AS role, 'rule' AS strategy, 'consume' AS action,
        cityHash64(number) % 1000000 AS choice, cityHash64(number, 1) % 1000 AS input_1, 0 AS input_2, 0 AS input_3,
        0 AS kafka_partition, number AS kafka_offset""",
    "order_submitted": """SELECT {run} AS run, intDiv(number * {ticks}, {rows}) AS tick, number % {agents} AS agent,
        3 * intDiv(number, {agents}) + 2 AS n, n AS `order`, cityHash64(number) % {instruments} AS instrument,
        if(number % 2 = 0, 'buy', 'sell') AS side, 'limit' AS type, 'ioc' AS tif, 0 AS post_only,
        9900 + cityHash64(number, 2) % 200 AS price, 1 + cityHash64(number, 3) % 100 AS quantity, 0 AS expires,
        0 AS cash_cap, 'consumption' AS use, 1000 AS tax_rate,
        3 * intDiv(intDiv(number, {agents}) * {agent_decided}, {rows}) + 1 AS decision,
        0 AS kafka_partition, number AS kafka_offset""",
    "trade_executed": """WITH intDiv(number * ({order_submitted} - 1), {rows}) AS taken, taken + 1 AS rested
        SELECT {run} AS run, cityHash64(taken) % {instruments} AS instrument, 2 * number AS seq,
        intDiv(number * {ticks}, {rows}) AS tick, 9900 + cityHash64(taken, 2) % 200 AS price,
        1 + cityHash64(number, 3) % 100 AS quantity, rested % {agents} AS maker_agent,
        3 * intDiv(rested, {agents}) + 2 AS maker_order, taken % {agents} AS taker_agent,
        3 * intDiv(taken, {agents}) + 2 AS taker_order, if(taken % 2 = 0, 'buy', 'sell') AS taker_side,
        'consumption' AS use, 'good' AS instrument_class, price * quantity * 100 AS notional,
        intDiv(notional, 10) AS tax, 0 AS kafka_partition, number AS kafka_offset""",
    "book_updated": """SELECT {run} AS run, number % {instruments} AS instrument,
        2 * intDiv(number, {instruments}) + 1 AS seq,
        intDiv(number * {ticks}, {rows}) AS tick, if(cityHash64(number) % 2 = 0, 'buy', 'sell') AS side,
        if(cityHash64(number) % 2 = 0, 9999 - cityHash64(number, 1) % 100, 10001 + cityHash64(number, 1) % 100)
            AS price,
        if(cityHash64(number, 2) % 4 = 0, 0, cityHash64(number, 2) % 500) AS quantity,
        0 AS kafka_partition, number AS kafka_offset""",
    "balance_recorded": """SELECT {run} AS run, intDiv(number, 2 * {agents}) AS window,
        intDiv(number, 2) % {agents} AS agent, if(number % 2 = 0, 'cash', 'goods') AS account, 0 AS item,
        cityHash64(number) % 100000000000 AS quantity, 0 AS kafka_partition, number AS kafka_offset""",
    "agent_founded": """SELECT {run} AS run, 0 AS tick, number AS agent, 0 AS n,
        concat('household ', toString(number)) AS name, 'household' AS role, 0 AS kafka_partition,
        number AS kafka_offset""",
    "instrument_listed": """SELECT {run} AS run, number AS instrument, concat('G', toString(number)) AS symbol,
        'good' AS instrument_class, number AS item, 'XEC' AS currency, 4 AS price_scale, 2 AS quantity_scale,
        1 AS tick_size, 1 AS lot_size, 100 AS fixing_ticks, 10000 AS reference_price, 0 AS band_bp,
        0 AS kafka_partition, number AS kafka_offset""",
}  # fmt: skip


def counts(events: int) -> dict[str, int]:
    """Rows of every table of events."""
    fixed = {"balance_recorded": 2 * AGENTS * WINDOWS, "agent_founded": AGENTS, "instrument_listed": INSTRUMENTS}
    rest = max(events - sum(fixed.values()), 10_000)
    return {**{table: int(rest * share) for table, share in SHARES.items()}, **fixed}


def fill(config: ClickHouseConfig, events: int) -> tuple[dict[str, int], list[str]]:
    """Write the run into migrated tables; rows by table, and names of indicators with one figure a window."""
    rows = counts(events)
    with Store(config) as store:
        for table, number in rows.items():
            numbers = {"run": RUN, "ticks": TICKS, "agents": AGENTS, "instruments": INSTRUMENTS, **rows, "rows": number}
            select = _SELECTS[table].format(**numbers)
            # Columns by name: those that a later version of the schema adds have their defaults.
            names = [row["name"] for row in store.rows(f"DESCRIBE TABLE ({select} FROM numbers(1))")]
            columns = ", ".join(f"`{name}`" for name in names if name not in ("taken", "rested"))
            for at in range(0, number, CHUNK):
                source = f"({select} FROM numbers({at}, {min(CHUNK, number - at)}))"
                store.command(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {source}")
            store.command(f"OPTIMIZE TABLE {table} PARTITION {RUN} FINAL")  # as the sink does with a finished run
        measured = [m.name for m in measures.MEASURES if not m.item]
        figures = _figures(measured)
        store.insert("stream_indicators", figures)
        size = len(figures["run"])
        lineage: dict[str, list[Any]] = {
            "job": ["gdp"] * size, "job_version": [1] * size, "start_offsets": ["{}"] * size,
            "end_offsets": ["{}"] * size, "computed_at": [datetime.now(UTC)] * size,
        }  # fmt: skip
        store.insert("batch_indicators", {**figures, **lineage})
        store.insert("runs", {name: [value] for name, value in _run(sum(rows.values())).items()})
    return rows, measured


def _figures(names: list[str]) -> dict[str, list[Any]]:
    """Figures of every window; equal approaches, other figures by place."""
    found: dict[str, list[Any]] = {"run": [], "window": [], "indicator": [], "item": [], "value": []}
    for window in range(WINDOWS):
        for place, name in enumerate(names):
            found["run"].append(RUN)
            found["window"].append(window)
            found["indicator"].append(name)
            found["item"].append(0)
            found["value"].append(Decimal(10**15 + window * 10**12 + (0 if name.startswith("gdp_") else place)))
    return found


def _run(events: int) -> dict[str, Any]:
    return {
        "run": RUN, "namespace": "bench", "scenario": "synthetic", "seed": 1, "state": "stored",
        "digest": f"{events:064x}", "root": f"{events:064x}", "epochs": TICKS // 20, "ticks": TICKS, "shards": 1,
        "partitions": 1, "flow_partitions": 1, "epoch_ticks": 20, "rules_version": 1, "digest_version": 1,
        "parent": 0, "parent_epoch": -1, "config": json.dumps({"name": "synthetic"}), "environment": "{}",
        "start_offsets": "{}", "end_offsets": "{}", "reason": "", "tape": "", "started_at": datetime.now(UTC),
        "finished_at": datetime.now(UTC), "version": 1,
    }  # fmt: skip

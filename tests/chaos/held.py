"""What must hold of a run after any crash: its log, folded here, is what ClickHouse and the projection have of it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from economy.records.events import Rows
from infra.stack import Attached
from queries.store import Store
from runs.accounts import windows_of
from runs.log import epochs_of, find_run
from schemas.catalogue import BALANCES, FLOWS, INDICATORS, TRADES
from schemas.clickhouse import TABLES, Table
from schemas.log.founding import founding
from schemas.log.history import read_chunks, read_history
from schemas.log.reader import Chunk, read_all


def check_tables(stack: Attached, run: int) -> dict[str, int]:
    """Every event is in its table exactly once, with the content that the log has; returns rows by table."""
    rows: dict[str, list[Rows]] = defaultdict(list)
    cold: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    records: dict[str, int] = defaultdict(int)  # with repeats, which restarted writers leave
    for chunk in _chunks(stack, run):
        for name, found in chunk.rows.items():
            mine = found[found[:, 0] == run]
            if name in TABLES and len(mine):
                rows[name].append(mine)
                records[name] += len(mine)
        for _, name, record in chunk.cold:
            if name in TABLES and record["run"] == run:
                cold[name].add(tuple(record[field] for field in TABLES[name].identity))
                records[name] += 1
    counts = {}
    assert stack.tables is not None
    with Store(stack.tables) as store:
        for name, table in TABLES.items():
            hot = np.unique(np.concatenate(rows[name]), axis=0) if name in rows else np.empty((0, 0), np.int64)
            expected = len(hot) or len(cold[name])
            counts[table.name] = _counted(store, table, run)
            assert counts[table.name] == expected, table.name
            raw, apart = _raw(store, table, run)
            assert raw == apart <= records[name], f"{table.name} holds a record of the log twice"
            if len(hot):
                at = [[field.name for field in table.columns].index(field) for field in table.identity]
                assert len(np.unique(hot[:, at], axis=0)) == len(hot), f"{name}: one identity, two contents"
                assert _sums(store, table, run) == _column_sums(hot), table.name
    return {name: count for name, count in counts.items() if count}


def check_indicators(stack: Attached, run: int) -> int:
    """The projection's figures, on the log and in ClickHouse, are the fold of the log; returns their number."""
    info = find_run(stack.bootstrap, stack.namespace, run)
    (segment,) = read_history(stack.bootstrap, stack.namespace, run)
    founded = founding(stack.bootstrap, stack.namespace, segment.started)
    epochs = epochs_of(stack.bootstrap, stack.namespace, info, (FLOWS, TRADES))
    folded = {
        (window.window, name, item): value
        for window in windows_of(epochs, info, founded)
        for (name, item), value in window.figures.items()
    }
    told = [
        ((r["window"], r["indicator"], r["item"]), int(r["value"]))
        for chunk in read_all(stack.bootstrap, stack.namespace, [(INDICATORS, 0)])
        for _, _, r in chunk.cold
        if r["run"] == run
    ]
    assert dict(told) == folded
    assert set(told) == set(folded.items())
    sql = "SELECT window, indicator, item, toString(value) AS v FROM stream_indicators FINAL WHERE run = {run:Int64}"
    assert stack.tables is not None
    with Store(stack.tables) as store:
        stored = store.rows(sql, {"run": run})
    assert {(r["window"], r["indicator"], r["item"]): int(r["v"]) for r in stored} == folded
    assert len(stored) == len(folded)
    return len(folded)


def check_published(stack: Attached, run: int) -> int:
    """Spark's figures stand in its table once, equal to the stream's; returns their number."""
    sql = (
        "SELECT count() AS all, uniqExact(b.window, b.indicator, b.item) AS apart, countIf(b.value = s.value) AS same "
        "FROM batch_indicators AS b LEFT JOIN (SELECT * FROM stream_indicators FINAL WHERE run = {run:Int64}) AS s "
        "USING (run, window, indicator, item) WHERE b.run = {run:Int64} AND b.job = 'gdp'"
    )
    assert stack.tables is not None
    with Store(stack.tables) as store:
        (found,) = store.rows(sql, {"run": run})
    assert found["all"] == found["apart"] == found["same"] > 0, found
    return int(found["all"])


def _column_sums(rows: Rows) -> list[int]:
    """Exact sums, which need not fit into 64 bits."""
    return [(int((c >> 32).sum()) << 32) + int((c & 0xFFFFFFFF).sum()) for c in rows.T]


def _chunks(stack: Attached, run: int) -> list[Chunk]:
    (segment,) = read_history(stack.bootstrap, stack.namespace, run)
    chunks = list(read_chunks(stack.bootstrap, stack.namespace, segment))
    return chunks + list(read_all(stack.bootstrap, stack.namespace, [(BALANCES, 0)]))


def _counted(store: Store, table: Table, run: int) -> int:
    return int(store.command(f"SELECT count() FROM {table.name} FINAL WHERE run = {run}"))


def _raw(store: Store, table: Table, run: int) -> tuple[int, int]:
    """Rows as they lie there, and how many places of the log they come from."""
    places = "uniqExact(kafka_partition, kafka_offset)"
    found = store.rows(f"SELECT count() AS rows, {places} AS apart FROM {table.name} WHERE run = {run}")[0]
    return int(found["rows"]), int(found["apart"])


def _sums(store: Store, table: Table, run: int) -> list[int]:
    sums = ", ".join(
        f"toString(sum(toInt128(toInt64(`{field.name}`)))) AS c{i}" for i, field in enumerate(table.event.fields)
    )
    found = store.rows(f"SELECT {sums} FROM {table.name} FINAL WHERE run = {run}")[0]
    return [int(value) for value in found.values()]

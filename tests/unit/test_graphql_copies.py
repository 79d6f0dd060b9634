"""Copies of a closed run's records answer what the tables answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.errors import SetupError
from queries.copies import COPIED, Copies, Copy, CopyError, emptied, read_copy
from queries.engine import Engine, EngineConfig
from queries.policy import EVERYTHING
from schemas.clickhouse import TABLES
from tests.synthetic import synthetic_run
from tests.tables import LocalTables, Row, local_tables

RUN, OPEN, WIDE = 7, 8, 9
TABLE = TABLES["AgentDecided"]
TRADES = """query ($first: Int!, $after: String, $instrument: BigInt) { run(id: 7) {
    trades(first: $first, after: $after, instrument: $instrument) { pageInfo { hasNextPage endCursor } nodes {
    seq tick price quantity notional tax takerSide use instrumentClass makerAgent takerAgent instrument { symbol }
    buyer { name } seller { name } makerOrder { n }
    takerOrder { n order side type timeInForce postOnly price quantity expires cashCap use taxRate agent { name }
    decision { n tick role strategy action choice inputs orders { n } } } } } } }"""
ORDERS = """query ($first: Int!, $after: String, $agent: BigInt) { run(id: 7) {
    orders(first: $first, after: $after, agent: $agent) { edges { cursor node { n order side decision { n inputs } } }
    pageInfo { hasNextPage endCursor } } } }"""
DECISIONS = """query ($first: Int!, $after: String, $agent: BigInt) { run(id: 7) {
    decisions(first: $first, after: $after, agent: $agent) { nodes { agentId n action choice inputs }
    pageInfo { hasNextPage endCursor } } } }"""
FILTERED = """{ run(id: 7) { a: trades(agent: 4) { nodes { seq } } b: orders(side: "sell") { nodes { n } }
    c: decisions(fromTick: 3, toTick: 9) { nodes { n } } d: trades(instrument: 99) { nodes { seq } } } }"""
LISTS = {"trades": (TRADES, "instrument"), "orders": (ORDERS, "agent"), "decisions": (DECISIONS, "agent")}


def decision(run: int, agent: int, n: int, choice: int = 0) -> Row:
    return {
        "run": run, "tick": 3, "agent": agent, "n": n, "role": "household", "strategy": "rule", "action": "consume",
        "choice": choice, "input_1": 1, "input_2": -2, "input_3": 3, "kafka_partition": 0, "kafka_offset": n,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    runs = synthetic_run(RUN, 3), synthetic_run(OPEN, 2, state="open")
    with local_tables(tmp_path_factory.mktemp("copies"), *runs) as found:
        yield found


# ---- the pure part
@st.composite
def kept(draw: st.DrawFn) -> tuple[Copy, list[tuple[int, int]]]:
    kind: Any = draw(st.sampled_from([np.uint8, np.int16, np.int64]))
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    near = st.integers(max(low, -4), 4) | st.sampled_from([int(low), int(high)])
    keys = sorted(draw(st.sets(st.tuples(near, near), max_size=40)))
    shape = np.dtype([("run", np.uint8), ("n", kind), ("agent", kind), ("action", np.uint8)])
    rows = np.array([(1, n, agent, i % 2) for i, (agent, n) in enumerate(keys)], shape)
    return Copy(TABLE, rows), keys


some = st.integers(-6, 6) | st.sampled_from([-(2**63), -129, 127, 255, 256, 2**15, 2**62])


@given(kept(), some, some)
def test_a_record_is_found_by_its_key(of: tuple[Copy, list[tuple[int, int]]], agent: int, n: int) -> None:
    copy, keys = of
    names = next(f.symbols for f in TABLE.columns if f.name == "action")
    for key in [(agent, n), *keys]:
        row = copy.find(key)
        if key in keys:
            action = names[keys.index(key) % 2]
            assert row == {"run": 1, "agent": key[0], "n": key[1], "action": action}
        else:
            assert row is None


@given(kept(), st.none() | some, st.none() | st.tuples(some, some), st.integers(0, 9))
def test_a_page_is_what_follows(
    of: tuple[Copy, list[tuple[int, int]]], agent: int | None, after: tuple[int, int] | None, limit: int
) -> None:
    copy, keys = of
    found = copy.page([] if agent is None else [agent], after, limit)
    expected = [k for k in keys if (agent is None or k[0] == agent) and (after is None or k > after)][:limit]
    assert [(row["agent"], row["n"]) for row in found] == expected


@given(kept(), some, some, some)
def test_a_stretch_of_a_key(of: tuple[Copy, list[tuple[int, int]]], agent: int, low: int, high: int) -> None:
    copy, keys = of
    expected = [k for k in keys if k[0] == agent and low <= k[1] < high]
    assert copy.between([agent], low, high)[["agent", "n"]].tolist() == expected


# ---- reading
def test_a_copy_holds_every_record_once_in_the_order_of_keys(tables: LocalTables, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    keys = [(int(a), int(n)) for a in (0, 3, 70_000) for n in rng.permutation(300)]
    rows = [decision(WIDE, a, n, choice=int(rng.integers(-(2**62), 2**62))) for a, n in keys]
    tables.fill({"agent_decided": rows[:500]})
    tables.fill({"agent_decided": rows[400:]})  # records that stand twice until the table is merged
    copy = read_copy(tables, WIDE, TABLE, tmp_path / "wide", 1 << 20)
    expected = sorted(rows, key=lambda row: (row["agent"], row["n"]))
    place = {"kafka_partition", "kafka_offset"}
    assert copy.page([], None, len(rows) + 1) == [{k: v for k, v in r.items() if k not in place} for r in expected]
    assert copy.rows.dtype["tick"] == np.uint8
    assert copy.rows.dtype["agent"] == np.uint32
    assert copy.rows.dtype["choice"] == np.int64
    before = len(tables.statements)
    again = read_copy(tables, WIDE, TABLE, tmp_path / "wide", 1 << 20)  # another process
    assert np.array_equal(again.rows, copy.rows)
    assert len(tables.statements) == before
    none = read_copy(tables, 12345, TABLE, tmp_path / "none", 1 << 20)
    assert none.page([], None, 5) == []
    assert none.find((1, 1)) is None


class Cut:
    """Tables whose packed answers end early."""

    def __init__(self, tables: LocalTables) -> None:
        self._tables = tables
        self.asked = 0

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        return self._tables.rows(sql, parameters)

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        self.asked += 1
        for piece in self._tables.packed(sql, parameters):
            yield piece[:-1]


def test_what_is_not_whole_or_too_large_is_no_copy(tables: LocalTables, tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="bytes came instead of"):
        read_copy(Cut(tables), RUN, TABLE, tmp_path / "cut", 1 << 20)
    with pytest.raises(CopyError, match="a copy may have 100"):
        read_copy(tables, RUN, TABLE, tmp_path / "large", 400)
    assert list(tmp_path.iterdir()) == []


def test_copies_that_were_read_longest_ago_make_place(tables: LocalTables, tmp_path: Path) -> None:
    name = "{}-agent_decided.copy.npy"
    first = read_copy(tables, RUN, TABLE, tmp_path / name.format(0), 1 << 20)
    size = (tmp_path / name.format(0)).stat().st_size
    room = 4 * size + size // 2
    for i in (1, 2, 3, 0, 4, 5):  # the first is read again
        read_copy(tables, RUN, TABLE, tmp_path / name.format(i), room)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name.format(i) for i in (0, 3, 4, 5)]
    (tmp_path / name.format(0)).unlink()
    assert first.page([], None, 1)  # what is mapped stays


def test_a_folder_is_empty_before_and_after(tmp_path: Path) -> None:
    left, other = tmp_path / "copies" / "1-2-orders.copy.npy.draft", tmp_path / "copies" / "other"
    left.parent.mkdir()
    for path in (left, other):
        path.write_bytes(b"")
    with emptied(left.parent):
        assert not left.exists()
        left.write_bytes(b"")
    assert list(left.parent.iterdir()) == [other]


def test_a_copy_that_fails_is_not_tried_again_at_once(
    tables: LocalTables, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = Cut(tables)
    copies = Copies(cut, tmp_path, 1 << 20, often=2)

    async def ask(times: int) -> None:
        for _ in range(times):
            assert copies.get(EVERYTHING, RUN, "d", TABLE.name) is None
            await copies.settled()

    asyncio.run(ask(50))
    assert cut.asked == 1
    assert "agent_decided of run 7 stay in ClickHouse alone" in caplog.text
    assert copies.report() == {"copies": 0, "bytes": 0, "making": 0}


# ---- answers
class Asking:
    """An engine whose copies are made at once."""

    def __init__(self, tables: Any, folder: Path | None) -> None:
        self.engine = Engine(EngineConfig(copies=folder, copies_bytes=1 << 20, copies_after=1), tables)

    async def __call__(self, query: str, variables: Mapping[str, Any]) -> Any:
        context = self.engine.context(alone=True)
        found = await self.engine.schema.execute(query, dict(variables), context)
        assert found.errors is None
        return found.data


@pytest.mark.parametrize("name", LISTS)
def test_pages_and_look_ups_are_those_of_the_tables(tables: LocalTables, tmp_path: Path, name: str) -> None:
    query, filtered = LISTS[name]

    async def walk() -> None:
        copied, plain = Asking(tables, tmp_path), Asking(tables, None)
        pages = 0
        for chosen in (None, 0, 1, 2, 3, 99):
            after = None
            while True:
                variables = {"first": 4, "after": after, **({} if chosen is None else {filtered: str(chosen)})}
                await copied(query, variables)
                await copied.engine.copies.settled()
                before = len(tables.statements)
                found = await copied(query, variables)
                spared = tables.statements[before:]
                assert json.dumps(found) == json.dumps(await plain(query, variables))
                # Orders by a name that is not their number, and those that follow from a decision, have no key.
                assert not any(
                    f"FROM {table} " in sql for table in COPIED for sql in spared
                    if "agent, order)" not in sql and "caused_by" not in sql
                )  # fmt: skip
                pages += 1
                after = found["run"][name]["pageInfo"]["endCursor"]
                if not found["run"][name]["pageInfo"]["hasNextPage"]:
                    break
        assert pages > 8
        assert copied.engine.copies.report()["copies"] >= 1

    asyncio.run(walk())


def test_other_filters_ask_the_tables(tables: LocalTables, tmp_path: Path) -> None:
    async def ask() -> None:
        copied, plain = Asking(tables, tmp_path), Asking(tables, None)
        for query, _ in LISTS.values():
            await copied(query, {"first": 2})
        await copied.engine.copies.settled()
        assert await copied(FILTERED, {}) == await plain(FILTERED, {})

    asyncio.run(ask())


def test_runs_that_may_change_are_not_copied(tables: LocalTables, tmp_path: Path) -> None:
    async def ask() -> None:
        copied = Asking(tables, tmp_path)
        for _ in range(5):
            await copied(TRADES.replace("id: 7", f"id: {OPEN}"), {"first": 2})
        await copied.engine.copies.settled()
        assert copied.engine.copies.report() == {"copies": 0, "bytes": 0, "making": 0}

    asyncio.run(ask())


class Silent:
    """Tables that do not give copies."""

    def __init__(self, tables: LocalTables) -> None:
        self.rows = tables.rows

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        raise SetupError("ClickHouse does not answer", "is it running?")


def test_answers_go_on_without_copies(tables: LocalTables, tmp_path: Path) -> None:
    async def ask() -> None:
        copied, plain = Asking(Silent(tables), tmp_path), Asking(tables, None)
        for _ in range(4):
            assert await copied(TRADES, {"first": 4}) == await plain(TRADES, {"first": 4})
            await copied.engine.copies.settled()

    asyncio.run(ask())

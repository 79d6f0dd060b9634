"""Subscriptions of a run that goes on: what is new, no more than a screen can use, and no follower holds up another."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from economy.errors import SetupError
from economy.measures import LAST_MEASURED
from economy.scenario import load_scenario
from queries import readings
from queries.engine import Engine, EngineConfig
from queries.guard import SLOW_CLIENT
from queries.live import Live, LiveSettings, follow_alerts
from queries.loaders import Loaders
from queries.readings import KEPT, PAGE, ProgressReading, TradeReading, WindowReading
from queries.records import Row
from queries.server import ApiConfig, create_app
from queries.types import WINDOW_FIGURES
from schemas.clickhouse import STORED
from schemas.windows import own_windows
from tests.processes import PATIENCE, until
from tests.serving import Client, serving
from tests.synthetic import synthetic_run
from tests.tables import LocalTables, local_tables

TRADE = {
    "price": 1, "quantity": 1, "maker_agent": 4, "maker_order": 1, "taker_agent": 6, "taker_order": 1,
    "taker_side": "buy", "use": "none", "instrument_class": "good", "notional": 1, "tax": 0, "kafka_partition": 0,
}  # fmt: skip


def trades(run: int, instrument: int, *numbers: int) -> dict[str, list[dict[str, Any]]]:
    key = {"run": run, "instrument": instrument}
    return {"trade_executed": [{**TRADE, **key, "seq": n, "tick": n, "kafka_offset": n} for n in numbers]}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    runs = [synthetic_run(run, 1, state="open") for run in range(30, 40)]
    for run in runs:
        for table in ("trading_halted", "trading_resumed"):
            del run[table]
    del runs[6]["stream_indicators"]
    with local_tables(tmp_path_factory.mktemp("live"), *runs) as found:
        yield found


@pytest.fixture
def client(tables: LocalTables) -> Iterator[Client]:
    live = LiveSettings(poll_seconds=0.05, quiet_seconds=0.5)
    with serving(create_app(ApiConfig(live=live), tables)) as found:
        tables.statements.clear()
        yield found


@pytest.fixture
def impatient(tables: LocalTables) -> Iterator[Client]:
    """A server that is quick to drop who does not read, behind buffers that are soon full."""
    live = LiveSettings(poll_seconds=0.05, slow_seconds=1.0)
    with serving(create_app(ApiConfig(live=live), tables), send_buffer=8_192) as found:
        tables.statements.clear()
        yield found


def told(data: Any) -> int:
    """Trades that a message tells of."""
    return int(data["trades"]["skipped"]) + len(data["trades"]["trades"])


def looked(tables: LocalTables, times: int) -> None:
    """Wait until the feed has looked for new trades."""
    until(lambda: sum("AS newest, count()" in sql for sql in tables.statements) >= times)


def end(tables: LocalTables, run: int, state: str = "stored", version: int = 2) -> None:
    tables.fill({"runs": [{**synthetic_run(run, 1, state=state)["runs"][0], "version": version}]})


def messages(socket: ClientConnection, subscriptions: int = 1) -> list[Any]:
    """Data of all messages until every subscription is complete."""
    found, open_ = [], subscriptions
    while open_:
        message = json.loads(socket.recv(PATIENCE))
        assert message["type"] != "error", message
        open_ -= message["type"] == "complete"
        if message["type"] == "next":
            assert "errors" not in message["payload"], message
            found.append(message["payload"]["data"])
    return found


def test_new_trades_are_told_once_newest_first_when_there_are_many(client: Client, tables: LocalTables) -> None:
    fields = "{ skipped trades { instrumentId seq buyer { name } } }"
    every, one = f"trades(run: 30, most: 3) {fields}", f"trades(run: 30, instrument: 2) {fields}"
    with client.subscribe(every, one) as socket:
        looked(tables, 3)  # behind the first look, from which on trades are new
        tables.fill(trades(30, 2, 100, 101))
        seen: list[Any] = []
        while sum(told(data) for data in seen) < 2 * 2:
            seen.append(json.loads(socket.recv(PATIENCE))["payload"]["data"])
        tables.fill(trades(30, 1, *range(200, 207)))
        tables.fill(trades(30, 9, 5))  # an instrument that did not trade before
        while sum(told(data) for data in seen) < 2 * 2 + 8:
            seen.append(json.loads(socket.recv(PATIENCE))["payload"]["data"])
        end(tables, 30)
        rest = messages(socket, 2)
    assert rest == []
    shown = [(int(t["instrumentId"]), int(t["seq"])) for data in seen for t in data["trades"]["trades"]]
    assert shown.count((2, 100)) == shown.count((2, 101)) == 2
    assert all(len(data["trades"]["trades"]) <= 3 for data in seen)
    ones = [number for instrument, number in shown if instrument == 1]
    assert ones == sorted(set(ones))
    assert 206 in ones or (9, 5) in shown  # the newest are shown, others counted
    assert all(data["trades"]["trades"][0]["buyer"]["name"] == "household 6" for data in seen)


def test_alerts_from_the_start_of_a_run_to_its_abort(client: Client, tables: LocalTables) -> None:
    place = {"run": 31, "kafka_partition": 0, "kafka_offset": 7}
    halt = {**place, "instrument": 3, "seq": 90, "tick": 40, "reason": "circuit_breaker", "price": 12, "until": 60}
    policy = {**place, "agent": 1, "n": 5, "tick": 80, "policy": "policy_rate", "value": 20_000_000}
    tables.fill({"trading_halted": [halt]})
    with client.subscribe("alerts(run: 31) { kind tick message event { kind record } }") as socket:
        first = json.loads(socket.recv(PATIENCE))["payload"]["data"]["alerts"]
        assert (first["kind"], first["tick"], first["event"]["kind"]) == ("TradingHalted", "40", "TradingHalted")
        assert first["message"] == "instrument 3: trading is halted (circuit_breaker) until tick 60"
        tables.fill(
            {"trading_resumed": [{**place, "instrument": 3, "seq": 91, "tick": 60, "price": 11_000, "quantity": 7}]}
        )
        resumed = json.loads(socket.recv(PATIENCE))["payload"]["data"]["alerts"]
        assert resumed["message"] == "instrument 3: trading goes on at 1.1, 7 units in the auction"
        tables.fill({"policy_changed": [policy]})
        second = json.loads(socket.recv(PATIENCE))["payload"]["data"]["alerts"]
        assert second["message"] == "agent 1 sets policy_rate to 0.02"
        end(tables, 31, "aborted")
        (last,) = messages(socket)
    assert last["alerts"] == {"kind": "RunAborted", "tick": None, "message": "the run is aborted", "event": None}


def test_a_trade_that_is_stored_between_two_statements_is_told_once(tables: LocalTables) -> None:
    """Whatever is stored between any two statements of a look belongs to the next one."""

    class Storing:
        """Stores a trade before each statement."""

        def __init__(self) -> None:
            self.stored = 0

        def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
            tables.fill(trades(32, self.stored % 3, 1_000 + self.stored))
            self.stored += 1
            return tables.rows(sql, parameters)

        def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
            raise AssertionError("no copies here")

    async def follow() -> None:
        storing = Storing()
        looking = TradeReading(Loaders(storing), 32)
        last = await looking(None)
        told: list[tuple[int, int]] = []
        begun = {(1_000 + k) for k in range(storing.stored)}
        for _ in range(6):
            last = await looking(last)
            found = [(int(row["instrument"]), int(row["seq"])) for row in last.found.newest]
            assert sum(last.found.counts.values()) == len(found)  # skipped is never negative, and never too much
            assert Counter(instrument for instrument, _ in found) == Counter(last.found.counts)
            told += found
        last = await TradeReading(Loaders(tables), 32)(last)
        told += [(int(row["instrument"]), int(row["seq"])) for row in last.found.newest]
        every = {(k % 3, 1_000 + k) for k in range(storing.stored)}
        assert len(told) == len(set(told))
        assert {seq for _, seq in every - set(told)} <= begun  # stored before or in the first look
        assert set(told) <= every

    asyncio.run(follow())


def test_a_look_keeps_the_newest_counts_the_rest_and_reads_by_key(
    tables: LocalTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "TOGETHER", 20)

    async def follow() -> None:
        looking = TradeReading(Loaders(tables), 35)
        last = await looking(None)
        tables.fill(trades(35, 0, *range(2_000, 2_000 + 3 * KEPT // 2)))
        tables.statements.clear()
        last = await looking(last)
        assert (last.found.of(0)[0], len(last.found)) == (3 * KEPT // 2, KEPT)
        assert int(last.found.newest[-1]["seq"]) == 2_000 + 3 * KEPT // 2 - 1
        assert len(tables.statements) == 3
        assert "seq > " in tables.statements[-1]
        # More instruments than one condition holds: each trade is found all the same, those of new instruments too.
        every = range(100, 100 + 2 * (2 * 20 + 1), 2)
        for instruments, new in ((every, len(every)), ([*every, 101, 1_001, 99], len(every) + 3)):
            rows = [trades(35, i, 10_000 + new)["trade_executed"][0] for i in instruments]
            tables.fill({"trade_executed": rows})
            last = await looking(last)
            assert sum(last.found.counts.values()) == new
            assert set(last.found.counts.values()) == {1}

    asyncio.run(follow())


def test_every_alert_of_the_past_is_told_and_a_repeated_record_once(tables: LocalTables) -> None:
    """More than a feed keeps, by tick; a shard that was started again has written some of them a second time."""
    halts = [
        {"run": 34, "kafka_partition": 0, "kafka_offset": k, "instrument": k % 7, "seq": k // 7, "tick": k // 3,
         "reason": "circuit_breaker", "price": 1, "until": 5} for k in range(2 * PAGE + 200)
    ]  # fmt: skip
    policies = [
        {"run": 34, "kafka_partition": 1, "kafka_offset": k, "agent": k % 2, "n": k // 2, "tick": 3 * k,
         "policy": "policy_rate", "value": k} for k in range(40)
    ]  # fmt: skip
    tables.fill({"trading_halted": halts[:-100], "policy_changed": policies[:30]})

    async def follow() -> None:
        live = Live(tables, LiveSettings(poll_seconds=0.02))
        early, late = follow_alerts(live, 34), follow_alerts(live, 34)
        told: dict[str, list[tuple[str, int, int]]] = {"early": [], "late": []}

        async def take(name: str, source: AsyncGenerator[Any, None], number: int) -> None:
            while len(told[name]) < number:
                alert = await anext(source)
                record = json.loads(alert.event.record)
                key, counter = ("instrument", "seq") if alert.kind == "TradingHalted" else ("agent", "n")
                told[name].append((alert.kind, record[key], record[counter]))

        def identity(row: Row) -> tuple[str, int, int]:
            kind = "TradingHalted" if "instrument" in row else "PolicyChanged"
            return kind, row.get("instrument", row.get("agent")), row.get("seq", row.get("n"))

        before = sorted([*halts[:-100], *policies[:30]], key=lambda row: (row["tick"], identity(row)))
        await take("early", early, len(before))
        assert told["early"] == [identity(row) for row in before]
        again = [{**row, "kafka_offset": row["kafka_offset"] + 5_000} for row in (*policies[20:35],)]
        tables.fill({"policy_changed": again, "trading_halted": halts[-100:]})
        await take("early", early, len(before) + 105)
        await take("late", late, len(before) + 105)
        tables.fill({"policy_changed": [*policies[35:], *again]})
        for name, source in (("early", early), ("late", late)):
            await take(name, source, len(halts) + len(policies))
            assert len(set(told[name])) == len(told[name])
            assert set(told[name]) == {identity(row) for row in (*halts, *policies)}
            for key in {found[:2] for found in told[name]}:
                counters = [found[2] for found in told[name] if found[:2] == key]
                assert counters == sorted(counters)
        for source in (early, late):
            await source.aclose()
        assert not live._feeds

    asyncio.run(follow())


def test_a_window_is_told_when_all_its_figures_are_there(tables: LocalTables) -> None:
    """The last figure is told by no count: those before it may come in a block of their own."""
    rows = synthetic_run(36, 3)["stream_indicators"]
    last = [row for row in rows if row["window"] == 2]
    final = next(row for row in last if row["indicator"] == LAST_MEASURED and row["item"] == 0)

    async def follow() -> None:
        tables.fill({"stream_indicators": [row for row in rows if row["window"] < 2]})
        looking = WindowReading(Loaders(tables), 36)
        look = await looking(None)
        assert (look.position, look.found) == (1, ())
        assert [w.number async for page in looking.past(-1, look.position) for w in page] == [0, 1]
        tables.fill({"stream_indicators": [row for row in last if row is not final]})
        look = await looking(look)
        assert look.found == ()
        tables.fill({"stream_indicators": [final]})
        (window,) = (await looking(look)).found
        assert len(window.figures) >= len(WINDOW_FIGURES)

    asyncio.run(follow())


def test_a_run_has_the_windows_that_close_behind_its_beginning() -> None:
    time = load_scenario("village", {"years": "2"}).time
    row = {"config": load_scenario("village", {"years": "2"}).canonical_json(), "ticks": time.ticks, "epoch_ticks": 1}
    for begins in (
        0,
        1,
        time.window_ticks - 1,
        time.window_ticks,
        3 * time.window_ticks + 5,
        time.ticks - 1,
        time.ticks,
    ):
        closed_later = [w for w in range(8) if (w + 1) * time.window_ticks > begins]
        assert list(own_windows({**row, "parent_epoch": begins - 1})) == closed_later
    assert not own_windows({"config": "{}", "ticks": 99, "epoch_ticks": 1, "parent_epoch": -1})  # a tape has none


@pytest.mark.parametrize(("run", "reading"), [(137, WindowReading), (138, ProgressReading)])
def test_what_is_told_of_a_fork_ends(
    tables: LocalTables, run: int, reading: type[WindowReading | ProgressReading]
) -> None:
    """Of its last windows it has figures, of those before its cut its parent has."""
    village = load_scenario("village", {"years": "1"})
    (row,) = synthetic_run(run, 4)["runs"]
    cut = 2 * village.time.window_ticks // row["epoch_ticks"] - 1
    fork = {**row, "config": village.canonical_json(), "ticks": village.time.ticks, "parent": 1, "parent_epoch": cut}
    figures = synthetic_run(run, 4)["stream_indicators"]
    tables.fill({"runs": [{**fork, "state": STORED}]})

    async def complete() -> bool:
        return (await reading(Loaders(tables), run)(None)).complete

    tables.fill({"stream_indicators": [f for f in figures if f["window"] == 2]})
    assert not asyncio.run(complete())
    tables.fill({"stream_indicators": [f for f in figures if f["window"] == 3]})
    assert asyncio.run(complete())


def test_late_records_of_a_finished_run_arrive_and_an_aborted_one_ends_in_quiet(
    client: Client, tables: LocalTables
) -> None:
    fields = "{ skipped trades { seq } }"
    with client.subscribe(f"trades(run: 37) {fields}", "progress(run: 37) { state trades }") as socket:
        looked(tables, 2)
        end(tables, 37, "finished", 2)
        looked(tables, 6)
        tables.fill(trades(37, 0, 900))
        looked(tables, 8)
        tables.fill(trades(37, 0, 901))
        end(tables, 37, "stored", 3)
        found = messages(socket, 2)
    assert sum(told(data) for data in found if "trades" in data) == 2
    assert [data["progress"]["state"] for data in found if "progress" in data][-1] == "stored"
    tables.statements.clear()
    with client.subscribe(f"trades(run: 38) {fields}") as socket:
        looked(tables, 2)
        end(tables, 38, "aborted", 2)
        tables.fill(trades(38, 0, 900))
        assert [told(data) for data in messages(socket)] == [1]


def test_the_tables_may_be_away_for_a_while(client: Client, tables: LocalTables) -> None:
    with client.subscribe("trades(run: 39) { skipped trades { seq } }", "alerts(run: 39) { kind }") as socket:
        looked(tables, 2)
        tables.failure = SetupError("ClickHouse does not answer", "wait")
        before = len(tables.statements)
        until(lambda: len(tables.statements) >= before + 6)
        with client.subscribe("progress(run: 39) { state }") as newcomer:
            assert "UNAVAILABLE" in str(newcomer.recv(PATIENCE))
        tables.failure = None
        tables.fill(trades(39, 0, 900))
        end(tables, 39)
        found = messages(socket, 2)
    assert [told(data) for data in found if "trades" in data] == [1]


def test_who_does_not_read_is_dropped_and_holds_up_nobody(impatient: Client, tables: LocalTables) -> None:
    stop = time.monotonic() + PATIENCE
    every = "{ skipped trades { seq tick price quantity notional tax takerSide use instrumentClass makerAgent } }"
    with (
        impatient.subscribe(f"trades(run: 33, most: 100) {every}", receive_buffer=8_192) as slow,
        impatient.subscribe("trades(run: 33, most: 1) { skipped trades { seq } }") as quick,
    ):
        looked(tables, 3)
        dropped, number, count = False, 10_000, 0
        while not dropped:
            assert time.monotonic() < stop, "the slow client was not dropped"
            tables.fill(trades(33, 0, *range(number, number + 100)))
            number += 100
            count += told(json.loads(quick.recv(PATIENCE))["payload"]["data"])
            dropped = impatient.http.get("/health").json()["subscriptions"] == 1
        while number - 10_000 > count:
            count += told(json.loads(quick.recv(PATIENCE))["payload"]["data"])
        assert count == number - 10_000  # the quick one missed nothing
        closed = None
        while closed is None:
            try:
                slow.recv(PATIENCE)
            except ConnectionClosed as error:
                closed = error
    assert closed.rcvd is None or closed.rcvd.code == SLOW_CLIENT


def test_trades_wait_for_the_listing_that_tells_their_decimals(client: Client, tables: LocalTables) -> None:
    run = synthetic_run(51, 1, state="open")
    listed = [{**run["instrument_listed"][0], "instrument": 9, "item": 9, "price_scale": 2, "quantity_scale": 1}]
    query = "trades(run: 51) { trades { seq price priceRaw quantity } }"
    tables.fill(run)
    with client.subscribe(query) as socket:
        until(lambda: any("trade_executed" in statement for statement in tables.statements))
        number = 5_000
        while not any("FROM instrument_listed" in statement for statement in tables.statements):
            tables.fill(trades(51, 9, number))
            number += 1
            time.sleep(0.02)
        tables.fill({"instrument_listed": listed})
        payload = json.loads(socket.recv(PATIENCE))["payload"]
    (first, *_) = payload["data"]["trades"]["trades"]
    assert (first["price"], first["priceRaw"], first["quantity"]) == ("0.01", "1", "0.1")


def test_trades_of_what_is_never_listed_end_in_words(client: Client, tables: LocalTables) -> None:
    tables.fill(synthetic_run(52, 1, state="open"))
    with client.subscribe("trades(run: 52) { skipped }") as socket:
        message: dict[str, Any] = {}
        number = 5_000
        while not message:
            tables.fill(trades(52, 9, number))
            number += 1
            try:
                message = json.loads(socket.recv(0.05))
            except TimeoutError:
                continue
    assert message["type"] == "next"
    (error,) = message["payload"]["errors"]
    assert "listing" in error["message"]
    assert error["extensions"]["code"] == "REFUSED"


@pytest.mark.parametrize(
    "asked", ["progress(run: 33) { state }", "windows(run: 33) { number }", "alerts(run: 33) { kind }",
              "trades(run: 33) { skipped }"],
)  # fmt: skip
def test_what_a_subscription_holds_is_given_back_as_it_ends(tables: LocalTables, asked: str) -> None:
    """Nothing is left to the collector, which closes generators that stand in one another in any order."""
    tables.fill({"policy_changed": [
        {"run": 33, "kafka_partition": 1, "kafka_offset": 1, "agent": 1, "n": 9, "tick": 3, "policy": "policy_rate",
         "value": 1}
    ]})  # fmt: skip
    left: list[str] = []

    async def follow() -> None:
        sys.set_asyncgen_hooks(finalizer=lambda generator: left.append(repr(generator)))
        engine = Engine(EngineConfig(), tables)
        with closing(Live(tables, LiveSettings(poll_seconds=0.02))) as live:
            messages = await engine.schema.subscribe(
                f"subscription {{ {asked} }}", context_value=engine.context(live=live)
            )
            first = asyncio.ensure_future(anext(messages))
            tables.statements.clear()
            number = 5_000
            while not first.done():
                tables.fill(trades(33, 2, number))
                number += 1
                await asyncio.sleep(0.02)
            assert not (await first).errors
            assert (live.active, len(live._feeds)) == (1, 1)
            await messages.aclose()
            assert (live.active, len(live._feeds)) == (0, 0)

    asyncio.run(follow())
    gc.collect()
    assert left == []

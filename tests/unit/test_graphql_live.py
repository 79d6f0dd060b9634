"""Subscriptions of a run that goes on: what is new, no more than a screen can use, and no follower holds up another."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from queries.feeds import KEPT, TradeFeed
from queries.guard import SLOW_CLIENT
from queries.live import LiveSettings
from queries.loaders import Loaders
from queries.server import ApiConfig, create_app
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
    runs = [synthetic_run(run, 1, state="open") for run in (30, 31, 32, 33)]
    for table in ("trading_halted", "trading_resumed"):
        del runs[1][table]
    with local_tables(tmp_path_factory.mktemp("live"), *runs) as found:
        yield found


@pytest.fixture
def client(tables: LocalTables) -> Iterator[Client]:
    live = LiveSettings(poll_seconds=0.05, slow_seconds=0.5)
    with serving(create_app(ApiConfig(live=live), tables), send_buffer=8_192) as found:
        tables.statements.clear()
        yield found


def told(data: Any) -> int:
    """Trades that a message tells of."""
    return int(data["trades"]["skipped"]) + len(data["trades"]["trades"])


def looked(tables: LocalTables, times: int) -> None:
    """Wait until the feed has looked for new trades."""
    limit = time.monotonic() + 20
    while sum("AS newest" in sql for sql in tables.statements) < times:
        assert time.monotonic() < limit
        time.sleep(0.01)


def end(tables: LocalTables, run: int, state: str = "finished") -> None:
    tables.fill({"runs": [{**synthetic_run(run, 1, state=state)["runs"][0], "version": 2}]})


def messages(socket: ClientConnection, subscriptions: int = 1) -> list[Any]:
    """Data of all messages until every subscription is complete."""
    found, open_ = [], subscriptions
    while open_:
        message = json.loads(socket.recv(20))
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
            seen.append(json.loads(socket.recv(20))["payload"]["data"])
        tables.fill(trades(30, 1, *range(200, 207)))
        tables.fill(trades(30, 9, 5))  # an instrument that did not trade before
        while sum(told(data) for data in seen) < 2 * 2 + 8:
            seen.append(json.loads(socket.recv(20))["payload"]["data"])
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
        first = json.loads(socket.recv(20))["payload"]["data"]["alerts"]
        assert (first["kind"], first["tick"], first["event"]["kind"]) == ("TradingHalted", "40", "TradingHalted")
        assert first["message"] == "instrument 3: trading is halted (circuit_breaker) until tick 60"
        tables.fill({"policy_changed": [policy]})
        second = json.loads(socket.recv(20))["payload"]["data"]["alerts"]
        assert second["message"] == "agent 1 sets policy_rate to 20000000 of 1e-9"
        end(tables, 31, "aborted")
        (last,) = messages(socket)
    assert last["alerts"] == {"kind": "RunAborted", "tick": None, "message": "the run is aborted", "event": None}


def test_a_thousand_followers_read_the_tables_as_often_as_one(tables: LocalTables) -> None:
    async def follow(feed: TradeFeed, rounds: int) -> None:
        loaders = Loaders(tables)
        for k in range(rounds):
            tables.fill(trades(32, 0, *range(1_000 * (k + 1), 1_000 * (k + 1) + KEPT // 2)))
            await feed.advance(loaders)

    feed = TradeFeed(32)
    asyncio.run(feed.advance(Loaders(tables)))
    tables.statements.clear()
    asyncio.run(follow(feed, 3))
    assert len(tables.statements) == 6
    assert (feed.total(0), feed.number) == (3 * KEPT // 2, 3 * KEPT // 2)
    assert len(feed.since(0, None)) == KEPT  # bounded: who comes late counts the rest
    assert int(feed.since(feed.number - 1, None)[0]["seq"]) == 3_000 + KEPT // 2 - 1
    assert "seq > " in tables.statements[-1]


def test_who_does_not_read_is_dropped_and_holds_up_nobody(client: Client, tables: LocalTables) -> None:
    stop = time.monotonic() + 60
    every = "{ skipped trades { seq tick price quantity notional tax takerSide use instrumentClass makerAgent } }"
    with (
        client.subscribe(f"trades(run: 33, most: 100) {every}", receive_buffer=8_192) as slow,
        client.subscribe("trades(run: 33, most: 1) { skipped trades { seq } }") as quick,
    ):
        looked(tables, 3)
        dropped, number, count = False, 10_000, 0
        while not dropped:
            assert time.monotonic() < stop, "the slow client was not dropped"
            tables.fill(trades(33, 0, *range(number, number + 100)))
            number += 100
            count += told(json.loads(quick.recv(10))["payload"]["data"])
            dropped = client.http.get("/health").json()["subscriptions"] == 1
        while number - 10_000 > count:
            count += told(json.loads(quick.recv(10))["payload"]["data"])
        assert count == number - 10_000  # the quick one missed nothing
        closed = None
        while closed is None:
            try:
                slow.recv(10)
            except ConnectionClosed as error:
                closed = error
    assert closed.rcvd is None or closed.rcvd.code == SLOW_CLIENT

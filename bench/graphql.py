"""How fast GraphQL answers: `escape bench graphql`, or `python -m bench.graphql --json`.

A synthetic run of N events lies in the tables of an embedded ClickHouse; the server of `escape serve` runs in front of
it as a process of its own. Clients ask one request after the other, each over a connection of its own:

- first: queries of a run that nobody asked about before, while the server begins to copy its records;
- mix: dashboards and notebooks, which repeat their queries (the popular ones most) since a while, and 5 % that nobody
  asked before;
- new: queries of the same kinds that nobody asked before, so that no answer is known: all have new variables, half of
  them a new text.

Clients, server and ClickHouse share the machine, so the figures are those of all three together.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import psutil
import typer

from bench.graphql_data import AGENTS, INSTRUMENTS, RUN, TICKS, WINDOWS, fill
from economy.errors import EscapeError, SetupError
from infra.clickhouse import EmbeddedClickHouse
from queries.migrate import migrate
from queries.settings import ServerSettings
from schemas.clickhouse_server import ClickHouseConfig

NEW_SHARE: Final = 0.05  # of the mix: queries that nobody asked before
NEW_TEXTS: Final = 0.5  # of the queries that nobody asked before: the text is new too, not only its variables
POOL: Final = 60  # requests that dashboards and notebooks repeat

_TOTAL: Final = "total { stream batch equal } components { name sign amount { stream } }"
ACCOUNTS: Final = f"""query Accounts($run: BigInt!, $first: Int!, $after: Int!) {{ run(id: $run) {{ digest
  windows(first: $first, after: $after) {{ number year quarter
    gdp {{ equal production {{ {_TOTAL} }} expenditure {{ {_TOTAL} }} income {{ {_TOTAL} }} }}
    giniIncome {{ stream batch equal value }} }} }} }}"""
SERIES: Final = """query Series($run: BigInt!, $names: [String!]!, $source: Source!) { run(id: $run) {
  indicators(names: $names, source: $source) { measure { name unit } item windows values } } }"""
TRADES: Final = """query Trades($run: BigInt!, $after: String) { run(id: $run) { trades(first: 20, after: $after) {
  nodes { seq tick price quantity notional instrument { symbol } buyer { name role } seller { name }
    takerOrder { side type price decision { action choice inputs } } } pageInfo { hasNextPage endCursor } } } }"""
ORDERS: Final = """query Orders($run: BigInt!, $agent: BigInt!, $after: String) { run(id: $run) {
  orders(first: 20, agent: $agent, after: $after) { nodes { n tick side type price quantity instrument { symbol }
    decision { action choice } } pageInfo { hasNextPage endCursor } } } }"""
BOOK: Final = """query Book($run: BigInt!, $instrument: BigInt!, $tick: BigInt!) { run(id: $run) {
  book(instrument: $instrument, tick: $tick) { bids { price quantity } asks { price quantity } } } }"""
AGENTS_PAGE: Final = """query Agents($run: BigInt!, $after: String, $window: Int!) { run(id: $run) {
  agents(first: 20, after: $after) { nodes { agent name role balances(window: $window) { account quantity } } } } }"""


@dataclass(frozen=True)
class Kind:
    """A query with the variables of one request."""

    name: str
    query: str
    variables: Callable[[Random], dict[str, Any]]


def _cursor(*parts: int) -> str:
    return base64.urlsafe_b64encode(":".join(map(str, parts)).encode()).decode()


def kinds(events: int, measures: Sequence[str]) -> list[Kind]:
    """The queries of the benchmark."""
    return [
        Kind("accounts", ACCOUNTS, lambda r: {"first": r.randint(30, WINDOWS), "after": r.randint(-1, WINDOWS)}),
        Kind(
            "series", SERIES,
            lambda r: {"names": r.sample(list(measures), 4), "source": r.choice(("STREAM", "BATCH"))},
        ),
        Kind("trades", TRADES, lambda r: {"after": _cursor(r.randrange(INSTRUMENTS), r.randrange(events // 2))}),
        Kind("orders", ORDERS, lambda r: {"agent": r.randrange(AGENTS), "after": _cursor(0, r.randrange(events))}),
        Kind("book", BOOK, lambda r: {"instrument": r.randrange(INSTRUMENTS), "tick": r.randrange(TICKS)}),
        Kind("agents", AGENTS_PAGE, lambda r: {"after": _cursor(r.randrange(AGENTS)), "window": r.randrange(WINDOWS)}),
    ]  # fmt: skip


class Requests:
    """Bodies of requests: a pool that is repeated, and ones that were never given out before."""

    def __init__(self, known: Sequence[Kind], seed: int = 7) -> None:
        self._kinds = known
        self._rng = Random(seed)
        self._given: set[bytes] = set()
        self.pool = [self.new(known[i % len(known)])[1] for i in range(POOL)]
        self._weights = [1 / (1 + i) for i in range(POOL)]

    def new(self, kind: Kind | None = None) -> tuple[str, bytes]:
        """A request that was not given out before."""
        while True:
            chosen = kind if kind is not None else self._rng.choice(self._kinds)
            variables = {"run": str(RUN), **chosen.variables(self._rng)}
            if chosen.name == "orders":
                variables["after"] = _cursor(variables["agent"], self._rng.randrange(10**6))
            # Every second text is new as well, as of somebody who writes it: then it is parsed and checked.
            query = chosen.query
            if self._rng.random() < NEW_TEXTS:
                query = query.replace("(", f"{len(self._given)}(", 1)
            body = json.dumps({"query": query, "variables": variables}).encode()
            if body not in self._given:
                self._given.add(body)
                return chosen.name, body
            kind = None  # all of this kind may have been asked

    def mixed(self) -> tuple[str, bytes]:
        """A request of the mix."""
        if self._rng.random() < NEW_SHARE:
            return self.new()
        return "repeated", self._rng.choices(self.pool, self._weights)[0]


@dataclass
class Load:
    """What clients found: seconds of every answer by kind, and the first error."""

    clients: int
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)  # seconds by process
    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: int = 0
    first_error: str = ""

    def report(self) -> dict[str, Any]:
        """Figures for people: requests a second, percentiles in milliseconds."""
        every = [x for of in self.latencies.values() for x in of]
        return {
            "clients": self.clients, "requests": len(every), "requests_per_s": round(len(every) / self.seconds, 1),
            **_percentiles(every), "errors": self.errors, "first_error": self.first_error,
            "cpu_ms_per_request": {name: round(1e3 * used / len(every), 2) for name, used in self.cpu.items()},
            "by_kind": {k: {"requests": len(v), **_percentiles(v)} for k, v in sorted(self.latencies.items())},
        }  # fmt: skip


def _percentiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {f"p{p}_ms": round(1e3 * ordered[min(len(ordered) - 1, p * len(ordered) // 100)], 2) for p in (50, 95, 99)}


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> bytes:
    """One request over an open HTTP/1.1 connection."""
    writer.write(
        b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    answer = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise SetupError(f"the server answered {head.splitlines()[0].decode()}: {answer[:200]!r}", "see its log")
    return answer


async def _client(port: int, draw: Callable[[], tuple[str, bytes]], until: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    while time.perf_counter() < until:
        kind, body = draw()
        began = time.perf_counter()
        answer = await _post(reader, writer, body)
        load.latencies.setdefault(kind, []).append(time.perf_counter() - began)
        if b'"errors":' in answer[-4096:] or not answer.startswith(b'{"data":{'):
            load.errors += 1
            load.first_error = load.first_error or answer[:500].decode()
    writer.close()


async def measure(
    port: int, draw: Callable[[], tuple[str, bytes]], clients: int, seconds: float, processes: dict[str, psutil.Process]
) -> Load:
    """Let clients ask for a while. Processor time tells what an answer costs also on a machine with other work."""
    load, began = Load(clients), time.perf_counter()
    before = {name: _cpu(process) for name, process in processes.items()}
    await asyncio.gather(*(_client(port, draw, began + seconds, load) for _ in range(clients)))
    load.seconds = time.perf_counter() - began
    load.cpu = {name: _cpu(process) - before[name] for name, process in processes.items()}
    return load


async def ask_once(port: int, bodies: Sequence[bytes]) -> None:
    """Ask each once, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    for body in bodies:
        await _post(reader, writer, body)
    writer.close()


def _cpu(process: psutil.Process) -> float:
    """Of a process; of the server with its workers."""
    ours = process.pid == os.getpid()
    every = [one.cpu_times() for one in (process, *([] if ours else process.children()))]
    return float(sum(used.user + used.system for used in every))


def served(url: str, password: str, log: Path) -> tuple[subprocess.Popen[str], int]:
    """The server as a process of its own that reads as `reader`; its port."""
    reader = ClickHouseConfig(url, "reader", password)
    command = ServerSettings(clickhouse_url=reader.address, copies=log.with_name("copies")).command()
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            command, env={**os.environ, **reader.environment}, stdout=subprocess.PIPE, stderr=errors,
            text=True,
        )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SetupError(f"the server did not start: {log.read_text()[-500:]}", "see the message")
    return process, int(json.loads(line)["url"].rpartition(":")[2])


def copied(port: int) -> dict[str, float]:
    """What the server tells of its copies once it makes none; seconds that this took from now."""
    began = time.perf_counter()
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            engines: list[dict[str, float]] = json.load(answer)["engines"]
        if engines and not any(engine["making"] for engine in engines):
            told = {name: max(engine[name] for engine in engines) for name in ("copies", "bytes")}
            return {**told, "awaited_s": round(time.perf_counter() - began, 1)}
        time.sleep(0.1)


def scenarios(requests: Requests) -> Iterator[tuple[str, Callable[[], tuple[str, bytes]], int]]:
    """Name, source of requests, number of clients: of a run that has been open for a while."""
    yield "mix", requests.mixed, 32
    yield "new", requests.new, 4
    yield "new", requests.new, 32


def run(events: int, seconds: float, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Fill the tables, serve them, ask; the figures."""
    began = time.perf_counter()
    with EmbeddedClickHouse(folder / "clickhouse") as clickhouse:
        config = ClickHouseConfig.from_dsn(clickhouse.dsn())
        migrate(config)
        tell(f"writing {events:,} events")
        counts, names = fill(config, events)
        filled = time.perf_counter() - began
        process, port = served(clickhouse.url, clickhouse.password("reader"), folder / "server.log")
        try:
            assert clickhouse.process is not None
            processes = {"server": process.pid, "clickhouse": clickhouse.process.pid, "clients": os.getpid()}
            watched = {name: psutil.Process(pid) for name, pid in processes.items()}
            requests = Requests(kinds(events, names))

            def measured(name: str, draw: Callable[[], tuple[str, bytes]], clients: int) -> dict[str, Any]:
                tell(f"{name}, {clients} clients")
                load = asyncio.run(measure(port, draw, clients, seconds, watched))
                return {"scenario": name, **load.report()}

            first = measured("first", requests.new, 4)
            copies = copied(port)
            asyncio.run(ask_once(port, requests.pool))  # dashboards have been open for a while
            results = [first, *(measured(*scenario) for scenario in scenarios(requests))]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
    return {
        "events": sum(counts.values()), "tables": counts, "fill_s": round(filled, 1), "new_share_of_mix": NEW_SHARE,
        "copies": copies, "cores": os.cpu_count(), "load_average": os.getloadavg()[0], "results": results,
    }  # fmt: skip


def main(
    events: Annotated[int, typer.Option(min=10_000, help="Events of the synthetic run.")] = 10_000_000,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 10.0,
    json_: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """GraphQL: requests a second and percentiles for a realistic mix and for queries that nobody asked before.

    Exit code 1 when an answer held an error.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="escape-bench-") as folder:
            found = run(events, seconds, Path(folder), lambda text: print(text, file=sys.stderr))
    except EscapeError as error:
        print(f"escape: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(130) from error
    if json_:
        print(json.dumps(found))
    else:
        print(f"{found['events']:,} events, {found['cores']} cores")
        for row in found["results"]:
            print(
                f"{row['scenario']:>4} {row['clients']:>3} clients {row['requests_per_s']:>8} requests/s  "
                f"p50 {row['p50_ms']} ms  p95 {row['p95_ms']} ms  p99 {row['p99_ms']} ms  errors {row['errors']}"
            )
    if any(row["errors"] for row in found["results"]):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)

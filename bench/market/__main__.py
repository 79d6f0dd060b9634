"""How fast the market is: `python -m bench.market --json`. Orders a second of the kernel and through Kafka.

Preloaded: all orders of a free-running run lie in one partition; then the worker starts. Its time runs from the line of
its log that says its state is restored until the run's last record is read from the trades. Beside it, interleaved,
confluent-kafka in Python consumes the same records and produces them again.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from economy import events as e
from economy.errors import SetupError
from economy.events import InstrumentClass, Rows, RunMode
from economy.instruments import Instrument
from economy.market import Market
from infra.broker import Broker
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings
from schemas.catalogue import ORDERS, TRADES, topic
from schemas.log import topics
from schemas.log.reader import LogReader
from schemas.log.writer import LogWriter

RUN: Final = 1
_CHUNK: Final = 20_000


def instruments(count: int) -> list[Instrument]:
    """Goods with a reference price of 1,000 ticks."""
    return [
        Instrument(i, f"I{i}", InstrumentClass.GOOD, item=i, fixing_ticks=100, reference_price=1000)
        for i in range(count)
    ]


def flow(count: int, books: int, seed: int = 7) -> Rows:
    """Limit orders around 1,000 ticks, a third of each time in force."""
    o = e.OrderSubmitted
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, o.width), np.int64)
    rows[:, o.RUN] = RUN
    rows[:, o.TICK] = np.arange(count) // 1000
    rows[:, o.AGENT] = rng.integers(0, 1000, count)
    rows[:, o.N] = rows[:, o.ORDER] = np.arange(count) + 1
    rows[:, o.INSTRUMENT] = rng.integers(0, books, count)
    rows[:, o.SIDE] = rng.integers(0, 2, count)
    rows[:, o.TIF] = rng.integers(0, 3, count)
    rows[:, o.PRICE] = 1000 + rng.integers(-20, 21, count)
    rows[:, o.QUANTITY] = rng.integers(1, 100, count)
    rows[:, o.EXPIRES] = rows[:, o.TICK] + 30
    return rows


def kernel(count: int, books: int) -> float:
    """Orders a second of Market.match_free, in chunks as a worker feeds it, without encoding."""
    market, rows = Market(RUN, 1, 1, instruments(books)), flow(count, books)
    none = np.empty((0, e.OrderCancelRequested.width), np.int64)
    market.match_free(rows[:_CHUNK], none, np.arange(_CHUNK))
    began = time.perf_counter()
    for at in range(_CHUNK, count, _CHUNK):
        part = rows[at : at + _CHUNK]
        market.match_free(part, none, np.arange(at, at + len(part)))
    return (count - _CHUNK) / (time.perf_counter() - began)


def preload(bootstrap: str, namespace: str, rows: Rows, books: int) -> int:
    """Write a whole free-running run; returns the number of records."""
    topics.create(bootstrap, namespace, 1, 1)
    writer = LogWriter(bootstrap, namespace)
    writer.send_rows("RunOpened", np.array([[RUN, RunMode.FREE, 1, 1, 1, 1, 1, -1]]), 0)
    for instrument in instruments(books):
        writer.send_record("InstrumentListed", instrument.record(RUN), 0)
    for at in range(0, len(rows), _CHUNK):
        writer.send_rows("OrderSubmitted", rows[at : at + _CHUNK], 0)
        writer.poll()
    writer.send_rows("RunClosed", np.array([[RUN]]), 0, ORDERS)
    writer.flush()
    return len(rows) + books + 2


def worker(bootstrap: str, namespace: str, folder: Path, limit: float) -> tuple[float, int]:
    """(seconds that the Faust worker takes for the preloaded run, records it wrote)."""
    log = folder / f"{namespace}.log"
    command = [sys.executable, "-m", "streams.worker", "matching", "--bootstrap", bootstrap, "--namespace", namespace]
    command += ["--data", str(folder)]
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    written, ended, seen, deadline = 0, 0.0, 0.0, time.monotonic() + limit
    try:
        with LogReader(bootstrap, namespace, {(TRADES, 0): 0}) as reader:
            place = (TRADES, 0)
            while not ended:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SetupError(f"the worker did not finish: {log.read_text()[-2000:]}", "see its log")
                time.sleep(0.02)
                end = reader.end_offsets([place])[place]
                if end == written:
                    with LogReader(bootstrap, namespace, {(TRADES, 0): max(0, end - 1)}) as last:
                        chunks = last.poll(0.5) if end else []
                    if any(e.EpochMatched.name in chunk.rows for chunk in chunks):
                        ended = seen
                else:
                    written, seen = end, time.time()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    found = re.search(r"^(\S+ \S+),(\d+) .*partition 0: offset", log.read_text(), re.MULTILINE)
    if found is None:
        raise SetupError("the worker's log names no restored partition", f"see {log}")
    began = datetime.fromisoformat(found[1]).timestamp() + int(found[2]) / 1000
    return ended - began, written


def relay(bootstrap: str, namespace: str, count: int) -> float:
    """Seconds that confluent-kafka in Python takes to consume the same records and to produce them again."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "relay", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})  # fmt: skip
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 2_000_000})
    target = topic(f"{namespace}r", TRADES)
    topics.create(bootstrap, f"{namespace}r", 1, 1)
    consumer.assign([TopicPartition(topic(namespace, ORDERS), 0, 0)])
    began, done = time.perf_counter(), 0
    while done < count:
        for message in consumer.consume(10_000, 0.5):
            while True:
                try:
                    producer.produce(target, message.value(), message.key(), 0)
                    break
                except BufferError:
                    producer.poll(0.01)
            done += 1
        producer.poll(0)
    producer.flush()
    taken = time.perf_counter() - began
    consumer.close()
    return taken


def measure(count: int, repetitions: int, books: int, folder: Path) -> dict[str, Any]:
    """All figures, medians of interleaved repetitions."""
    ours, theirs, written = [], [], 0
    one = [kernel(min(count, 1_000_000), 1) for _ in range(repetitions)]
    many = [kernel(min(count, 1_000_000), 400) for _ in range(repetitions)]
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    rows = flow(count, books)
    with Broker(folder / "broker", home, broker_classpath(settings.cache_folder, home)) as broker:
        for i in range(repetitions):
            records = preload(broker.bootstrap, f"bench{i}", rows, books)
            taken, written = worker(broker.bootstrap, f"bench{i}", folder, 300)
            ours.append(count / taken)
            theirs.append(records / relay(broker.bootstrap, f"bench{i}", records))
    return {
        "kernel_orders_per_second_1_book": round(statistics.median(one)),
        "kernel_orders_per_second_400_books": round(statistics.median(many)),
        "preloaded_orders": count,
        "preloaded_records_written": written,
        "preloaded_orders_per_second": round(statistics.median(ours)),
        "preloaded_orders_per_second_each": [round(v) for v in ours],
        "confluent_kafka_records_per_second": round(statistics.median(theirs)),
        "confluent_kafka_records_per_second_each": [round(v) for v in theirs],
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.market", description="Speed of the market")
    parser.add_argument("--orders", type=int, default=2_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--books", type=int, default=10, help="instruments of the preloaded run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.orders, options.repetitions, options.books, Path(folder))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:42} {value}")


if __name__ == "__main__":
    main()

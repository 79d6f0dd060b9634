"""Preloaded: all orders lie in the topic, then the worker starts; beside it librdkafka in Python only relays them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.market.flow import LIMIT_CANCEL, Flow
from bench.market.lab import PATIENCE, Worker, cpu, make_topics, new_namespace
from bench.market.wire import Meter, Sender, rows_in
from economy.errors import SetupError
from economy.records import events as e
from schemas.catalogue import ORDERS, TRADES, topic

_STEP: Final = 20_000
BOOKS: Final = 10


async def preload(bootstrap: str, namespace: str, flow: Flow, count: int, partitions: int = 1) -> int:
    """Write a free run of the opening and `count` messages; returns the number of orders and cancels."""
    make_topics(bootstrap, namespace, partitions)
    async with Sender(bootstrap, namespace, partitions) as sender:
        await sender.open(flow.books)
        await sender.send(flow.opening(), 1)
        while flow.sent < count:
            first = flow.sent + 1
            await sender.send(flow.take(min(_STEP, count - flow.sent)), first)
        await sender.close_run()
    return flow.sent


async def matched(bootstrap: str, namespace: str, workers: list[Worker], partitions: int = 1) -> tuple[float, int]:
    """(wall time at which the last record of the preloaded run was there, records written)."""
    written, ended, limit = 0, 0, time.monotonic() + PATIENCE
    async with Meter(bootstrap, namespace, partitions, wait_ms=20) as meter:
        while True:
            for records in await meter.take():
                written += len(records)
                last = records.since(int(records.offsets[-1]))
                ended += len(rows_in(last).get(e.EpochMatched.name, ()))
            if ended == partitions:
                return time.time(), written
            for worker in workers:
                worker.check()
            if time.monotonic() > limit:
                raise SetupError(f"the preloaded run was not matched in {PATIENCE:.0f} s", "see the worker's log")


def ours(bootstrap: str, folder: Path, count: int) -> tuple[dict[str, float], str]:
    """(figures of one worker on `count` preloaded messages, namespace)."""
    namespace = new_namespace()
    flow = Flow(LIMIT_CANCEL, BOOKS)
    sent = asyncio.run(preload(bootstrap, namespace, flow, count))
    with Worker(bootstrap, namespace, folder) as worker:
        began = worker.wait_restored()
        used = cpu([worker.process])
        ended, written = asyncio.run(matched(bootstrap, namespace, [worker]))
        used = cpu([worker.process]) - used
    return {"rate": sent / (ended - began), "cpu_us": 1e6 * used / sent, "written": written}, namespace


def relay(bootstrap: str, namespace: str, count: int) -> float:
    """Records a second that confluent-kafka in Python consumes and produces again."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "relay", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "fetch.queue.backoff.ms": 1})  # fmt: skip
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 2_000_000})
    copy = new_namespace()
    make_topics(bootstrap, copy)
    target = topic(copy, TRADES)
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
    return done / taken


def measure(bootstrap: str, folder: Path, count: int, rounds: int) -> dict[str, list[Any]]:
    """Interleaved rounds of both: rate, cpu_us (of the worker per order), written, relay."""
    out: dict[str, list[Any]] = {"rate": [], "cpu_us": [], "written": [], "relay": []}
    for _ in range(rounds):
        figures, namespace = ours(bootstrap, folder, count)
        figures["relay"] = relay(bootstrap, namespace, min(count, 500_000))
        for name, value in figures.items():
            out[name].append(value)
    return out

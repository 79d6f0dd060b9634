"""Waiting for the tables: as long as something of the run comes, and no longer than the patience behind the last."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from economy.errors import SetupError
from infra import stored
from infra.stored import PATIENCE, wait_until_stored
from tests.tables import LocalTables, local_tables

RUN = 7


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    with local_tables(tmp_path_factory.mktemp("tables")) as opened:
        yield opened


class Clock:
    """Time that passes as it is slept; `then` is called after each sleep."""

    def __init__(self, then: Callable[[float], None]) -> None:
        self.now, self._then = 1000.0, then

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._then(self.now)


def wait(monkeypatch: pytest.MonkeyPatch, tables: LocalTables, clock: Clock) -> None:
    monkeypatch.setattr(stored, "Store", lambda _: nullcontext(tables))
    monkeypatch.setattr(stored, "time", clock)
    monkeypatch.setattr(stored, "_LOOK_SECONDS", 10.0)  # the clock alone makes it slow
    stack: Any = SimpleNamespace(tables="tables", namespace="n", logs=Path("logs"), check=lambda: None)
    wait_until_stored(stack, RUN)


def offsets(partition: int, behind: int, version: int, namespace: str = "n") -> dict[str, Any]:
    return {
        "namespace": namespace, "family": "market.orders.v1", "kafka_partition": partition, "first": 0,
        "next": behind, "stored": 1, "version": version,
    }  # fmt: skip


def run_row(state: str, version: int) -> dict[str, Any]:
    return {
        "run": RUN, "namespace": "n", "state": state, "version": version,
        "end_offsets": json.dumps({"market.orders.v1": [1_000_000, 0]}),
    }  # fmt: skip


@pytest.fixture
def empty(tables: LocalTables) -> LocalTables:
    for table in ("runs", "sink_offsets", "stream_indicators", "balance_recorded"):
        tables._session.query(f"TRUNCATE TABLE {table}")
    return tables


def test_a_run_that_takes_longer_than_the_patience_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, empty: LocalTables
) -> None:
    """Records, its row, its figures and its balances come one after the other, each after most of the patience."""
    steps: list[dict[str, list[dict[str, Any]]]] = [
        {"sink_offsets": [offsets(0, 400_000, 1)]},
        {"runs": [run_row("finished", 1)]},
        {"sink_offsets": [offsets(0, 1_000_000, 2)]},
        {"stream_indicators": [{"run": RUN, "window": 1}]},
        {"balance_recorded": [{"run": RUN, "window": 1}]},
        {"runs": [run_row("stored", 2)]},
    ]
    begin, count = 1000.0, len(steps)

    def step(now: float) -> None:
        if steps and now - begin > (count - len(steps) + 1) * (PATIENCE - 30):
            empty.fill(steps.pop(0))

    clock = Clock(step)
    wait(monkeypatch, empty, clock)
    assert not steps
    assert clock.now - begin > 4 * PATIENCE


def test_one_that_stands_still_is_told_though_others_come(monkeypatch: pytest.MonkeyPatch, empty: LocalTables) -> None:
    empty.fill({"runs": [run_row("finished", 1)], "sink_offsets": [offsets(0, 999, 1), offsets(0, 0, 1, "other")]})
    version = 1

    def others(now: float) -> None:
        nonlocal version
        version += 1
        empty.fill({"sink_offsets": [offsets(1, version, version), offsets(0, version, version, "other")]})

    clock = Clock(others)
    with pytest.raises(SetupError, match="run 7 is not complete in ClickHouse, and nothing of it has come for 180 s"):
        wait(monkeypatch, empty, clock)
    assert clock.now - 1000 < PATIENCE + 30

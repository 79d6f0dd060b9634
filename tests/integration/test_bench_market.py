"""The benchmark of the market prints one JSON document, from runs that are too small to say anything about speed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from bench.market import flow, kernel, table
from economy.markets.market import Market
from economy.records import events as e
from tests.processes import PATIENCE


@pytest.mark.parametrize("mix", [flow.LIMIT_CANCEL, flow.MOVES])
def test_every_cancel_finds_its_order_and_every_aggressive_order_is_filled(mix: flow.Mix) -> None:
    messages = flow.Flow(mix, 3, resting=50)
    market = Market(flow.RUN, 1, 1, flow.instruments(3))
    for number in range(5):
        first = messages.sent + 1
        part = messages.take(5_000) if number else messages.opening()
        out = market.match_free(*flow.rows_of(part, first))
        assert e.OrderRejected.name not in out
        closed = out.get(e.OrderClosed.name, np.empty((0, e.OrderClosed.width), np.int64))
        assert len(closed) == np.count_nonzero(part[:, flow.KIND] == flow.CANCEL)
        assert (closed[:, e.OrderClosed.REASON] == e.CloseReason.CANCELLED).all()


def test_kernel_and_market_trade_the_same() -> None:
    messages = flow.Flow(flow.LIMIT_CANCEL, 2, resting=100)
    untimed, timed = messages.opening(), messages.take(25_000)
    one, other = kernel.exact(untimed, timed, 2), kernel.market(untimed, timed, 2)
    assert (one.trades, one.quantity) == (other.trades, other.quantity)
    assert one.trades > 1_000


@pytest.mark.integration
def test_a_tiny_run_prints_json() -> None:
    command = [sys.executable, "-m", "bench.market", "--json", "--quick", "--seconds", "2", "--only", "latency"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert {"cpu", "cores", "memory_gib", "kernel"} <= told["machine"].keys()
    names = [row["figure"] for row in told["figures"]]
    assert names == ["latency at 1,000 orders/s", "processor time per order at 1,000 orders/s"]
    assert told["figures"][0]["met"] in (True, False)
    assert "| latency at 1,000 orders/s |" in table.markdown(told)

"""The kernel's speed hangs on a private option of numba; that it still works can only be seen in the machine code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_WARM = """
from economy.markets import auction
from economy.markets.market import Market
from economy.markets.matching import uncross, walk
from streams.warmup import warm_up
from tests.property.hostile import own_overlaps
from tests.property.test_book_soak import GUARDED

kernels = [auction._newer, uncross.uncross, uncross.withdraw, walk.dump, walk.depth]
warm_up()
known = [len(k.signatures) for k in kernels]
out = Market(1, 7, 20, [GUARDED]).match_free(*own_overlaps(600))
assert {"TradingResumed", "OrderClosed", "TradeExecuted"} <= set(out)
assert known == [len(k.signatures) for k in kernels], known
assert min(known) == 1, known
"""
_SCRIPT = """
from economy.markets.book import OrderBook
from economy.records.events import Side
from economy.markets.matching.kernel import run
OrderBook().add(order=1, agent=1, side=Side.BUY, price=5, quantity=1)
(code,) = run.inspect_asm().values()
assert len(code) > 10_000, "no machine code"
print(code.count("NRT_"), code.count("prefetch"))
"""


def test_the_kernel_counts_no_references(tmp_path: Path) -> None:
    """An atomic increment per array and op would take more than half of the time. Code from a cache shows nothing."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    references, prefetches = map(int, done.stdout.split())
    assert references == 0
    assert prefetches > 0


def test_a_workers_first_auction_waits_for_no_compiler() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _WARM], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

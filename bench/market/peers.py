"""Other matching engines on the same messages. Each runner returns a Result, or None where its package is missing.

What they leave out of ours: limit-order-book and lightmatchingengine know one owner and have no self-trade prevention,
time in force, expiry, duplicate check or report of who traded (limit-order-book reports no trade at all); matchcore has
times in force and reports trades, but no owners, so no self-trade prevention, and lets ids be only its own numbers.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.market.flow import KIND, ORDER, QUANTITY, SUBMIT
from economy.errors import SetupError
from economy.records.events import Rows

CRATE: Final = Path(__file__).parent.parent / "peers" / "matchcore"


@dataclass(frozen=True)
class Result:
    """Messages, seconds of processor time, and what was traded (trades -1 where the engine does not tell)."""

    messages: int
    seconds: float
    trades: int
    quantity: int

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def limit_order_book(untimed: Rows, timed: Rows, books: int) -> Result | None:
    """limit-order-book, whose C++ core is called through ctypes."""
    module = _module("limit_order_book")
    if module is None:
        return None
    made = [module.LimitOrderBook() for _ in range(books)]
    limits, cancels = [book.limit for book in made], [book.cancel for book in made]

    def play(messages: list[list[int]]) -> None:
        for kind, book, order, _, side, price, quantity, _ in messages:
            if kind:
                cancels[book](order)
            else:
                limits[book](not side, order, quantity, price)

    play(untimed.tolist())
    before = sum(book.volume() for book in made)
    messages = timed.tolist()
    began = time.thread_time()
    play(messages)
    seconds = time.thread_time() - began
    left = sum(book.volume() for book in made)
    return Result(len(timed), seconds, -1, (before + _net(untimed, timed) - left) // 2)


def _net(untimed: Rows, timed: Rows) -> int:
    """Quantity that the timed messages bring, less what they cancel."""
    both = np.concatenate((untimed, timed))
    quantity = np.zeros(int(both[:, ORDER].max()) + 1, np.int64)
    submitted = both[:, KIND] == SUBMIT
    quantity[both[submitted, ORDER]] = both[submitted, QUANTITY]
    new = timed[:, KIND] == SUBMIT
    return int(timed[new, QUANTITY].sum() - quantity[timed[~new, ORDER]].sum())


def light(untimed: Rows, timed: Rows, books: int) -> Result | None:
    """lightmatchingengine, in Python; it gives its own order ids."""
    module = _module("lightmatchingengine.lightmatchingengine")
    if module is None:
        return None
    engine = module.LightMatchingEngine()
    own: dict[int, int] = {}
    trades, quantity = 0, 0

    def play(messages: list[list[int]]) -> None:
        nonlocal trades, quantity
        add, cancel = engine.add_order, engine.cancel_order
        for kind, book, order, _, side, price, size, _ in messages:
            if kind:
                cancel(own[order], book)
            else:
                made, prints = add(book, price, size, side + 1)
                own[order] = made.order_id
                for one in prints[1:]:
                    if one.order_id != made.order_id:
                        trades, quantity = trades + 1, quantity + one.trade_qty

    play(untimed.tolist())
    messages, trades, quantity = timed.tolist(), 0, 0
    began = time.thread_time()
    play(messages)
    return Result(len(timed), time.thread_time() - began, trades, quantity)


def build_matchcore() -> Path | None:
    """Compile the runner of the Rust crate; None where cargo is missing or cannot get the crate."""
    cargo = shutil.which("cargo") or shutil.which(str(Path.home() / ".cargo" / "bin" / "cargo"))
    if cargo is None:
        return None
    folder = Path(tempfile.gettempdir()) / "escape-bench-matchcore"
    done = subprocess.run(
        [cargo, "build", "--release", "--quiet", "--manifest-path", str(CRATE / "Cargo.toml")],
        capture_output=True, env=dict(os.environ) | {"CARGO_TARGET_DIR": str(folder)}, check=False,
    )  # fmt: skip
    return folder / "release" / "escape-bench-matchcore" if done.returncode == 0 else None


def matchcore(program: Path) -> Callable[[Rows, Rows, int], Result | None]:
    """A runner of the compiled crate."""

    def run(untimed: Rows, timed: Rows, books: int) -> Result | None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(np.concatenate((untimed, timed)).astype("<i8").tobytes())
            file.flush()
            done = subprocess.run(
                [str(program), file.name, str(books), str(len(untimed))], capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise SetupError(f"matchcore failed: {done.stderr.strip()}", "compare the messages with what it takes")
        nanoseconds, trades, quantity = map(int, done.stdout.split())
        return Result(len(timed), nanoseconds / 1e9, trades, quantity)

    return run

"""A small exchange that tells about itself in LOBSTER's format: an independent source of message files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Message = tuple[str, int, int, int, int, int]


class Exchange:
    """A continuous market written as plainly as can be, which tells about itself as LOBSTER does."""

    def __init__(self) -> None:
        self.queue: list[list[int]] = []  # [id, direction, price, shares], oldest first
        self.messages: list[Message] = []
        self.now = 34_200 * 10**9

    def tell(self, kind: int, order: int, size: int, price: int, direction: int) -> None:
        time = f"{self.now // 10**9}.{self.now % 10**9:09d}".rstrip("0").rstrip(".")
        self.messages.append((time, kind, order, size, price, direction))

    def submit(self, order: int, direction: int, price: int, size: int) -> None:
        while size:
            facing = [o for o in self.queue if o[1] == -direction and (price - o[2]) * direction >= 0]
            if not facing:
                break
            best = min(facing, key=lambda o: o[2] * direction)  # the oldest of equal ones
            part = min(size, best[3])
            size, best[3] = size - part, best[3] - part
            self.tell(4, best[0], part, best[2], best[1])
            if not best[3]:
                self.queue.remove(best)
        if size:
            self.queue.append([order, direction, price, size])
            self.tell(1, order, size, price, direction)

    def reduce(self, order: list[int], size: int) -> None:
        whole = size == order[3]
        order[3] -= size
        self.tell(3 if whole else 2, order[0], size, order[2], order[1])
        if whole:
            self.queue.remove(order)


def synthetic(seed: int, steps: int) -> list[Message]:
    rng = np.random.default_rng(seed)
    exchange = Exchange()
    for step in range(steps):
        exchange.now += int(rng.integers(0, 5_000_000))
        draw = rng.random()
        if exchange.queue and draw < 0.35:
            order = exchange.queue[rng.integers(len(exchange.queue))]
            exchange.reduce(order, order[3] if rng.random() < 0.5 else int(rng.integers(1, order[3] + 1)))
        elif draw < 0.38:
            exchange.tell(5, 0, 10, 1_000_000, 1)  # hidden
        else:
            direction = int(rng.choice((-1, 1)))
            price = 1_000_000 + 100 * (int(rng.integers(-8, 6)) * direction)
            exchange.submit(1000 + 7 * step, direction, price, int(rng.integers(1, 300)))
    return exchange.messages


def write(path: Path, messages: list[Message]) -> Path:
    path.write_text("".join(",".join(map(str, message)) + "\n" for message in messages))
    return path

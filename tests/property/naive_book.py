"""A price-time book written for clarity alone, on lists, without a line of the product's code: the reference."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Resting:
    agent: int
    order: int
    side: int  # 0 buy, 1 sell
    price: int
    left: int
    expires: int  # 0 = never
    use: int
    tax: int


@dataclass
class NaiveBook:
    """Outputs: ("trade", price, quantity, maker agent, maker order, taker agent, taker order, use, tax rate),
    ("reject", agent, order, reason), ("close", agent, order, reason, rest), ("halt", price, until),
    ("resume", price, quantity) and ("band", low, high)."""

    reference: int = 0
    band_bp: int = 0
    breaker_bp: int = 0
    halt_ticks: int = 0
    pressure: bool = False
    orders: list[Resting] = field(default_factory=list)  # in order of arrival
    out: list[tuple[object, ...]] = field(default_factory=list)
    highest: dict[int, int] = field(default_factory=dict)  # agent -> its highest order id
    until: float | None = None  # last tick of the call in progress

    def best_first(self, side: int) -> list[Resting]:
        mine = [o for o in self.orders if o.side == side]  # the list is in order of arrival and sort is stable
        return sorted(mine, key=lambda o: -o.price if side == 0 else o.price)

    def around(self, width_bp: int) -> tuple[int, int]:
        width = self.reference * width_bp // 10_000
        return max(1, self.reference - width), self.reference + width

    # ---- time
    def advance(self, tick: int) -> None:
        """Time is `tick` now: what was due before it happens first, in order."""
        if self.until is not None and tick > self.until:
            last = int(self.until)
            self.expire(last)
            self.end_call()
        self.expire(tick)

    def expire(self, tick: int) -> None:
        due = [o for o in self.orders if 0 < o.expires < tick]
        for o in sorted(due, key=lambda o: o.expires):
            self.orders.remove(o)
            self.out.append(("close", o.agent, o.order, "expired", o.left))

    # ---- calls
    def withdraw_newer_of_own_overlaps(self) -> None:
        kept: list[Resting] = []
        for o in list(self.orders):
            if any(
                k.agent == o.agent and k.side != o.side and (o.price >= k.price if o.side == 0 else o.price <= k.price)
                for k in kept
            ):
                self.orders.remove(o)
                self.out.append(("close", o.agent, o.order, "self_trade", o.left))
            else:
                kept.append(o)

    def clearing(self, candidates: list[int]) -> tuple[int, int] | None:
        """(price, volume) by trying every candidate."""
        if self.pressure:
            return self.pressed(candidates)
        found = []
        for price in candidates:
            demand = sum(o.left for o in self.orders if o.side == 0 and o.price >= price)
            supply = sum(o.left for o in self.orders if o.side == 1 and o.price <= price)
            found.append((-min(demand, supply), abs(demand - supply), abs(price - self.reference), price))
        if not found or min(found)[0] == 0:
            return None
        return min(found)[3], -min(found)[0]

    def pressed(self, grid: list[int]) -> tuple[int, int] | None:
        """The same with the side of the surplus before the reference price, step by step as exchanges tell it."""
        left = {}
        for limit in sorted({o.price for o in self.orders}):
            demand = sum(o.left for o in self.orders if o.side == 0 and o.price >= limit)
            supply = sum(o.left for o in self.orders if o.side == 1 and o.price <= limit)
            left[limit] = (min(demand, supply), demand - supply)
        most = max((volume for volume, _ in left.values()), default=0)
        if not most:
            return None
        fair = {limit: surplus for limit, (volume, surplus) in left.items() if volume == most}
        least = min(map(abs, fair.values()))
        fair = {limit: surplus for limit, surplus in fair.items() if abs(surplus) == least}
        if all(surplus > 0 for surplus in fair.values()):
            return max(fair), most
        if all(surplus < 0 for surplus in fair.values()):
            return min(fair), most
        low = max((limit for limit, surplus in fair.items() if surplus > 0), default=min(fair))
        high = min((limit for limit, surplus in fair.items() if surplus < 0), default=max(fair))
        return min((abs(price - self.reference), price) for price in grid if low <= price <= high)[1], most

    def end_call(self) -> None:
        self.until = None
        self.withdraw_newer_of_own_overlaps()
        near = {o.price + d for o in self.orders for d in (-1, 0, 1)}  # demand and supply change nowhere else
        cleared = self.clearing(sorted(near | {self.reference}))
        if cleared is None:
            self.out.append(("resume", 0, 0))
            bids, asks = self.best_first(0), self.best_first(1)
            if bids and asks:
                self.refer_to((bids[0].price + asks[0].price) // 2)
            return
        price, volume = cleared
        rest = volume
        while rest:
            bid, ask = self.best_first(0)[0], self.best_first(1)[0]
            take = min(rest, bid.left, ask.left)
            bid_came_first = self.orders.index(bid) < self.orders.index(ask)
            maker, taker = (bid, ask) if bid_came_first else (ask, bid)
            self.out.append(
                ("trade", price, take, maker.agent, maker.order, taker.agent, taker.order, bid.use, bid.tax)
            )
            rest -= take
            for o in (bid, ask):
                o.left -= take
                if o.left == 0:
                    self.orders.remove(o)
        self.out.append(("resume", price, volume))
        self.refer_to(price)

    def refer_to(self, price: int) -> None:
        before = self.around(self.band_bp)
        self.reference = price
        if self.band_bp and self.around(self.band_bp) != before:
            self.out.append(("band", *self.around(self.band_bp)))

    # ---- requests
    def cancel(self, tick: int, agent: int, order: int) -> None:
        self.advance(tick)
        for o in self.orders:
            if (o.agent, o.order) == (agent, order):
                self.orders.remove(o)
                self.out.append(("close", agent, order, "cancelled", o.left))
                return
        self.out.append(("reject", agent, order, "unknown_order"))

    def refusal(
        self, tick: int, agent: int, order: int, kind: str, tif: str, post_only: bool, price: int, expires: int
    ) -> str:
        """Why an order is rejected at sight; empty = it is not. The first reason counts."""
        if any((o.agent, o.order) == (agent, order) for o in self.orders):
            return "duplicate_order"
        if agent in self.highest and order <= self.highest[agent]:
            return "order_id_reused"
        self.highest[agent] = order
        if self.until is not None and (kind == "market" or tif != "gtc" or post_only):
            return "halted"
        if 0 < expires < tick:
            return "already_expired"
        low, high = self.around(self.band_bp)
        if kind == "limit" and self.band_bp and not low <= price <= high:
            return "outside_price_band"
        return ""

    def submit(
        self, tick: int, agent: int, order: int, side: int, kind: str, tif: str, post_only: bool, price: int,
        quantity: int, expires: int = 0, use: int = 0, tax: int = 0, cap: int = 0,
    ) -> None:  # fmt: skip
        self.advance(tick)
        why = self.refusal(tick, agent, order, kind, tif, post_only, price, expires)
        if why:
            self.out.append(("reject", agent, order, why))
            return
        if self.until is not None:
            self.orders.append(Resting(agent, order, side, price, quantity, expires, use, tax))
            return

        def crosses(o: Resting) -> bool:
            return kind == "market" or (o.price <= price if side == 0 else o.price >= price)

        def prints(o: Resting) -> bool:
            low, high = self.around(self.breaker_bp)
            return not self.breaker_bp or low <= o.price <= high

        against = [o for o in self.best_first(1 - side) if crosses(o)]
        if post_only and against:
            self.out.append(("reject", agent, order, "post_only_would_cross"))
            return
        if tif == "fok":
            available, money = 0, cap
            for o in against:
                if o.agent == agent or available >= quantity or not prints(o):
                    break
                take = min(o.left, quantity - available)
                if cap and take * o.price > money:
                    break
                money -= take * o.price
                available += take
            if available < quantity:
                self.out.append(("close", agent, order, "unfilled", quantity))
                return
        why = "unfilled"
        left = quantity
        for o in against:
            take = min(left, o.left, cap // o.price if cap else left)
            if take <= 0:
                break
            if o.agent == agent:
                why = "self_trade"
                break
            if not prints(o):
                self.until = tick + self.halt_ticks
                self.out.append(("halt", o.price, self.until))
                break
            use_of, tax_of = (use, tax) if side == 0 else (o.use, o.tax)
            self.out.append(("trade", o.price, take, o.agent, o.order, agent, order, use_of, tax_of))
            left -= take
            o.left -= take
            if cap:
                cap -= take * o.price
                if cap == 0:
                    cap = -1  # spent: no price is payable any more
            if o.left == 0:
                self.orders.remove(o)
            if left == 0:
                return
            if take < o.left + take and cap:
                break
        if left == 0:
            return
        if kind == "market" or tif != "gtc" or why == "self_trade":
            self.out.append(("close", agent, order, why, left))
            return
        self.orders.append(Resting(agent, order, side, price, left, expires, use, tax))

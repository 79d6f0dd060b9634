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
    ("reject", agent, order, reason) and ("close", agent, order, reason, rest)."""

    orders: list[Resting] = field(default_factory=list)
    out: list[tuple[object, ...]] = field(default_factory=list)
    highest: dict[int, int] = field(default_factory=dict)  # agent -> its highest order id

    def best_first(self, side: int) -> list[Resting]:
        mine = [o for o in self.orders if o.side == side]  # the list is in order of arrival and sort is stable
        return sorted(mine, key=lambda o: -o.price if side == 0 else o.price)

    def expire(self, tick: int) -> None:
        due = [o for o in self.orders if 0 < o.expires < tick]
        for o in sorted(due, key=lambda o: o.expires):
            self.orders.remove(o)
            self.out.append(("close", o.agent, o.order, "expired", o.left))

    def cancel(self, tick: int, agent: int, order: int) -> None:
        self.expire(tick)
        for o in self.orders:
            if (o.agent, o.order) == (agent, order):
                self.orders.remove(o)
                self.out.append(("close", agent, order, "cancelled", o.left))
                return
        self.out.append(("reject", agent, order, "unknown_order"))

    def submit(
        self, tick: int, agent: int, order: int, side: int, kind: str, tif: str, post_only: bool, price: int,
        quantity: int, expires: int = 0, use: int = 0, tax: int = 0, cap: int = 0,
    ) -> None:  # fmt: skip
        self.expire(tick)
        if any((o.agent, o.order) == (agent, order) for o in self.orders):
            self.out.append(("reject", agent, order, "duplicate_order"))
            return
        if agent in self.highest and order <= self.highest[agent]:
            self.out.append(("reject", agent, order, "order_id_reused"))
            return
        self.highest[agent] = order
        if 0 < expires < tick:
            self.out.append(("reject", agent, order, "already_expired"))
            return

        def crosses(o: Resting) -> bool:
            return kind == "market" or (o.price <= price if side == 0 else o.price >= price)

        against = [o for o in self.best_first(1 - side) if crosses(o)]
        if post_only and against:
            self.out.append(("reject", agent, order, "post_only_would_cross"))
            return
        if tif == "fok":
            available, money = 0, cap
            for o in against:
                if o.agent == agent or available >= quantity:
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
            if take == 0:
                break
            if o.agent == agent:
                why = "self_trade"
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

"""A small economy made up for tests: rows of the tables of one run, so regular that every figure can be told by hand.

Tables hold the columns of the events (with their place on the log), as in ClickHouse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from economy import measures

Row = dict[str, Any]
UNIT = 10**8
PRODUCTS = ("grain", "food", "care")
LISTED = 3  # instrument of the only listed share; its issuer is agent 5
ROLES = ("government", "central_bank", "statistics_office", "market_maker", "corporation", "corporation")
HOUSEHOLDS = 20
TAPE = '[{"print": 5, "buy_order": 6, "reason": "filled before it was announced"}]'
SCENARIO = {
    "name": "village",
    "years": 2,
    "calendar": {"epoch_ticks": 20, "rounds": 10},
    "targets": {"growth": 0.01, "inflation": 0.02, "unemployment": 0.06, "depreciation": 0.08, "real_rate": 0.01},
}


def _place(row: Row, offset: int) -> Row:
    return {**row, "kafka_partition": 0, "kafka_offset": offset}


def figures(windows: int) -> Iterator[tuple[int, str, int, int]]:
    """(window, indicator, item, value) of every indicator, the three approaches equal in every window."""
    for w in range(windows):
        wave = math.sin(w / 5)
        level = int((1 + 0.0075 * w + 0.03 * wave) * 1_000_000) * 250 * UNIT // 1_000
        consumption, government, inventory = level * 60 // 100, level * 20 // 100, level // 100
        investment = level - consumption - government - inventory
        taxes, wages = level * 6 // 100, level * 58 // 100
        intermediate = level * 70 // 100
        amounts = {
            "gdp_production": level, "gdp_expenditure": level, "gdp_income": level,
            "output": level - taxes + intermediate, "intermediate_consumption": intermediate,
            "taxes_on_products": taxes, "consumption": consumption, "government": government,
            "investment": investment, "inventory_change": inventory, "wages": wages,
            "gross_operating_surplus": level - wages - taxes, "gdp_real": int(level / (1 + 0.005 * w)),
            "gini_income": int((0.38 + 0.01 * wave) * 1e9), "gini_wealth": int((0.76 + 0.01 * wave) * 1e9),
            "consumer_price_index": int((1 + 0.005 * w) * 1e9), "unemployment": int((0.06 - 0.02 * wave) * 1e9),
            "government_debt": 3 * level, "bankruptcies": int(w % 9 == 8), "trades": 500 + w,
        }  # fmt: skip
        for name, value in amounts.items():
            yield w, name, 0, value
        for k in range(1, measures.LORENZ_POINTS + 1):
            yield w, "lorenz_income", k, int((k / 20) ** 2.1 * 1e9)
            yield w, "lorenz_wealth", k, int((k / 20) ** 6 * 1e9)
        for j in range(len(PRODUCTS) + 1):
            price = int(10_000 * (j + 1) * (1 + 0.005 * w + 0.01 * math.sin(w * 0.7 + j)))
            yield w, "traded_quantity", j, 1_000 * (j + 1) + w
            yield w, "traded_value", j, (1_000 * (j + 1) + w) * price * 100
            yield w, "closing_price", j, price


def synthetic_run(run: int = 7, windows: int = 8, state: str = "stored", trades: int = 12) -> dict[str, list[Row]]:
    """Table name -> rows. Trade k of instrument j: agent 6 + k % 20 buys k + 1 lots from agent 4 at price 10000 + k."""
    agents = [*ROLES, *["household"] * HOUSEHOLDS]
    tables: dict[str, list[Row]] = {
        "runs": [
            {
                "run": run, "scenario": "village", "seed": 11, "state": state, "digest": f"{run:064x}",
                "root": f"{run + 1:064x}", "epochs": windows * 50, "ticks": windows * 1000, "shards": 2,
                "partitions": 1, "flow_partitions": 1, "epoch_ticks": 20, "rules_version": 1, "digest_version": 1,
                "parent": 0,
                "parent_epoch": -1, "config": json.dumps(SCENARIO), "environment": '{"cpu":"x86_64"}',
                "start_offsets": '{"market.orders.v1":[0]}', "end_offsets": "", "reason": "", "tape": "",
                "started_at": "2026-01-02 03:04:05", "finished_at": "2026-01-02 03:05:05", "version": 1,
            }
        ],
        "stream_indicators": [
            {"run": run, "window": w, "indicator": name, "item": item, "value": value}
            for w, name, item, value in figures(windows)
        ],
        "tape_comparisons": [
            {"run": run, "orders": 313_979, "trades": 283, "prints": 284, "matched": 282, "explanation": TAPE}
        ],
    }  # fmt: skip
    lineage = {
        "job_version": 1, "start_offsets": '{"market.trades.v1":[0]}', "end_offsets": '{"market.trades.v1":[99]}',
        "computed_at": "2026-01-02 03:06:00.000",
    }  # fmt: skip
    tables["batch_indicators"] = [
        {**row, "job": "gini" if "gini" in row["indicator"] or "lorenz" in row["indicator"] else "gdp", **lineage}
        for row in tables["stream_indicators"]
        if row["indicator"].startswith(("gdp", "gini", "lorenz")) or row["item"] == 0
    ]
    listings = [(name, "service" if name == "care" else "good", j, 2) for j, name in enumerate(PRODUCTS)]
    listings.append(("CARE", "equity", 5, 0))
    tables["instrument_listed"] = [
        _place(
            {
                "run": run, "instrument": j, "symbol": symbol, "instrument_class": kind, "item": item,
                "currency": "XEC", "price_scale": 4, "quantity_scale": scale, "tick_size": 1, "lot_size": 1,
                "fixing_ticks": 100, "reference_price": 10_000, "band_bp": 2_000,
                "breaker_bp": 1_000, "halt_ticks": 50, "open_ticks": 20,
            },
            j,
        )
        for j, (symbol, kind, item, scale) in enumerate(listings)
    ]  # fmt: skip
    tables["agent_founded"] = [
        _place({"run": run, "tick": -1, "agent": a, "n": 0, "name": f"{role} {a}", "role": role}, a)
        for a, role in enumerate(agents)
    ]
    tables |= _market(run, trades)
    stamp = {"run": run, "instrument": 3, "tick": 400}
    halt = {"reason": "circuit_breaker", "price": 12_000, "until": 460}
    tables["trading_halted"] = [_place({**stamp, "seq": 500, **halt}, 500)]
    tables["trading_resumed"] = [_place({**stamp, "seq": 501, "tick": 460, "price": 11_000, "quantity": 7}, 501)]
    tables["price_band_changed"] = [_place({**stamp, "seq": 502, "tick": 460, "low": 9_900, "high": 12_100}, 502)]
    tables["balance_recorded"] = [
        _place({"run": run, "window": w, "agent": a, "account": "cash", "item": 0, "quantity": (a + 1) * UNIT}, a)
        for w in range(windows)
        for a in range(len(agents))
    ]
    return tables


def _market(run: int, trades: int) -> Mapping[str, list[Row]]:
    """Per instrument `trades` decisions, orders and trades, and a book of five levels a side that then loses one."""
    found: dict[str, list[Row]] = {"trade_executed": [], "order_submitted": [], "agent_decided": [], "book_updated": []}
    for j in range(len(PRODUCTS) + 1):
        for k in range(trades):
            buyer, offset, tick = 6 + k % HOUSEHOLDS, j * trades + k, 10 * k + j
            n = 2 * offset + 1
            who = {"run": run, "tick": tick, "agent": buyer}
            what = {"instrument": j, "price": 10_000 + k, "quantity": k + 1}
            kind = ("good", "good", "service", "equity")[j]
            use = "none" if kind == "equity" else "consumption"
            found["agent_decided"].append(
                _place(
                    {
                        **who, "n": n, "role": "household", "strategy": "rule", "action": "consume", "choice": k + 1,
                        "input_1": 1, "input_2": -2, "input_3": 2**60,
                    },
                    offset,
                )
            )  # fmt: skip
            found["order_submitted"].append(
                _place(
                    {
                        **who, **what, "n": n + 1, "order": n, "side": "buy", "type": "limit", "tif": "ioc",
                        "post_only": 0, "expires": 0, "cash_cap": 0, "use": use, "tax_rate": 1000, "decision": n,
                    },
                    offset,
                )
            )  # fmt: skip
            notional = (10_000 + k) * (k + 1) * (10_000 if kind == "equity" else 100)
            found["trade_executed"].append(
                _place(
                    {
                        "run": run, **what, "seq": k, "tick": tick, "maker_agent": 4, "maker_order": 900 + k,
                        "taker_agent": buyer, "taker_order": n, "taker_side": "buy", "use": use,
                        "instrument_class": kind, "notional": notional, "tax": notional // 10,
                    },
                    offset,
                )
            )  # fmt: skip
        levels = [("buy", 10_000 - i, 50 + i) for i in range(5)] + [("sell", 10_010 + i, 60 + i) for i in range(5)]
        for i, (side, price, quantity) in enumerate([*levels, ("buy", 10_000, 0)]):
            found["book_updated"].append(
                _place(
                    {
                        "run": run, "instrument": j, "seq": 1_000 + i, "tick": 5 if i < len(levels) else 15,
                        "side": side, "price": price, "quantity": quantity,
                    },
                    i,
                )
            )  # fmt: skip
    return found

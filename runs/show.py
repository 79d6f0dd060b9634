"""A run as it stood at a cut, and where it comes from, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.registry import OWN_MODELS, Models, model_name
from economy.errors import InputError
from economy.numbers.decimals import beside, grouped
from economy.records import events as e
from economy.records.events import Account, Role
from economy.scales import Scales
from economy.world import NOBODY, World
from runs.protocol import unlike_here
from schemas.log.founding import Founding
from schemas.log.history import Segment, interventions

_DEPTH = 3  # levels that people are shown


def check_cuts(segment: Segment) -> None:
    """Raises InputError for a tape: it has neither epochs nor accounts."""
    if segment.started["last_epoch"] < 0:
        remedy = "it is a tape and has no cuts to be shown at: see --provenance, or `escape export RUN --events NAME`"
        raise InputError("run", segment.run, remedy)


def world_json(world: World, founded: Founding, run: int, tick: int) -> dict[str, Any]:
    """Balances, books and contracts of everybody, in exact decimals with their integers beside them."""
    b = e.BalanceRecorded
    scales = Scales.of(world.instruments)
    balances = [
        {"agent": row[b.AGENT], "name": founded.names[row[b.AGENT]], "role": _role(founded, row[b.AGENT]),
         "account": Account(row[b.ACCOUNT]).name.lower(), "item": row[b.ITEM],
         **beside("quantity", row[b.QUANTITY], scales.stock(Account(row[b.ACCOUNT]), row[b.ITEM]))}
        for row in world.ledger.balances(run, 0).tolist()
    ]  # fmt: skip
    books = []
    for instrument in world.instruments:
        bids, asks = (
            [{**beside("price", price, instrument.price_scale), **beside("quantity", rest, instrument.quantity_scale)}
             for price, rest in side]
            for side in world.book(instrument.instrument)
        )  # fmt: skip
        books.append(
            {"instrument": instrument.instrument, "name": instrument.symbol,
             **beside("price", world.prices[instrument.instrument], instrument.price_scale), "bids": bids, "asks": asks}
        )  # fmt: skip
    contracts = [
        {"kind": "employment", "worker": worker, "name": founded.names[worker], "employer": employer,
         "employer_name": founded.names[employer]}
        for worker, employer in enumerate(world.employer.tolist()) if employer != NOBODY
    ]  # fmt: skip
    return {
        "run": run, "tick": tick, "epoch": world.epoch, "balances": balances, "books": books, "contracts": contracts,
    }  # fmt: skip


def _role(founded: Founding, agent: int) -> str:
    return Role(int(founded.roles[agent])).name.lower()


def render(world: World, founded: Founding, run: int, tick: int) -> str:
    """Totals by role, the best levels of each book, and how many are employed."""
    lines = [f"run {run} at tick {tick}, the cut of epoch {world.epoch}", ""]
    ledger = world.ledger
    lines.append(f"{'role':<20}{'agents':>8}{'cash':>24}{'bonds':>24}{'goods':>14}{'capital':>12}")
    for role in Role:
        who = np.flatnonzero(founded.roles == role)
        if len(who):
            sums = [int(each[who].sum()) for each in (ledger.cash, ledger.bonds, ledger.goods, ledger.capital)]
            lines.append(
                f"{role.name.lower():<20}{len(who):>8}{grouped(sums[0]):>24}{grouped(sums[1]):>24}"
                f"{sums[2]:>14,}{sums[3]:>12,}"
            )
    lines += ["", f"{'instrument':<26}{'price':>12}  bids (price x quantity), asks"]
    for instrument in world.instruments:
        bids, asks = world.book(instrument.instrument)
        scales = instrument.price_scale, instrument.quantity_scale
        told = [
            ", ".join(f"{grouped(p, scales[0])} x {grouped(q, scales[1])}" for p, q in side[:_DEPTH]) or "-"
            for side in (bids, asks)
        ]
        price = grouped(world.prices[instrument.instrument], scales[0])
        lines.append(f"{instrument.symbol:<26}{price:>12}  {told[0]} | {told[1]}")
    employed = int((world.employer != NOBODY).sum())
    people = int((founded.roles == Role.HOUSEHOLD).sum())
    lines += ["", f"{employed} of {people} households are employed; --json lists every balance, level and contract"]
    return "\n".join(lines)


def provenance(segments: Sequence[Segment], models: Models = OWN_MODELS) -> dict[str, Any]:
    """Everything that a run depends on, and whether it can be computed again here."""
    own = segments[-1]
    s, finished = own.started, own.clock.finished or {}
    keys = ("scenario_name", "scenario", "seed", "rules_version", "digest_version", "environment", "schemas", "shards",
            "partitions", "flow_partitions", "epoch_ticks", "last_epoch", "start_offsets", "wall_time")  # fmt: skip
    why = models.refusal(model_name(s)) or unlike_here(s)
    return {
        "run": own.run,
        **{key: s[key] for key in keys},
        "parent": s["parent"] or None,
        "parent_epoch": s["parent_epoch"] if s["parent"] else None,
        "history": [{"run": each.run, "first_epoch": each.first, "last_epoch": each.last} for each in segments],
        "interventions": [
            {"epoch": epoch, "tick": epoch * s["epoch_ticks"], "key": key, "value": value}
            for epoch, found in sorted(interventions(segments).items()) for key, value in found
        ],
        "digest": finished.get("digest", ""),
        "root": finished.get("root", ""),
        "computable_here": not why,
        "why_not": why,
    }  # fmt: skip

"""Two runs beside each other: national accounts by window, who gained and lost, and the first event that differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.registry import OWN_MODELS, Models, model_name
from economy.calendar import QUARTERS
from economy.errors import InputError
from economy.indicators import WindowProjection
from economy.measures import MEASURE
from economy.numbers.decimals import beside, grouped
from economy.records.events import Events, InstrumentClass, Role
from economy.scales import Scales
from economy.scenario import Scenario
from runs.divergence import ORDER, Sides, first_difference
from runs.progress import Told
from runs.rawread import raw_chunks
from schemas.catalogue import FLOWS, TRADES
from schemas.log.founding import Founding, founding, village_of
from schemas.log.history import FAMILIES, Segment, read_epochs, read_history

Figures = dict[int, Mapping[tuple[str, int], int]]  # window -> (indicator, item) -> value
HEADLINES: Final = (
    "gdp_production", "gdp_real", "consumer_price_index", "unemployment", "gini_income", "gini_wealth",
    "government_debt", "bankruptcies",
)  # fmt: skip


@dataclass(frozen=True)
class Account:
    """One run as far as both have got: its figures, and net worth (agents,) at the end, in 1e-8 of the currency."""

    run: int
    figures: Figures
    worth: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """`shared` is the last epoch that both share by reference, -2 where they share none; `event` (topic, sides)."""

    a: Account
    b: Account
    founded: Founding
    shared: int
    epoch: int  # first that differs, -2 where none does
    event: tuple[str, Sides] | None

    @property
    def windows(self) -> list[int]:
        """Those that both have closed."""
        return sorted(self.a.figures.keys() & self.b.figures.keys())

    def series(self, indicator: str, item: int = 0) -> tuple[list[int], list[int]]:
        """A figure of both runs by window."""
        key = (indicator, item)
        a, b = ([account.figures[window][key] for window in self.windows] for account in (self.a, self.b))
        return a, b

    def gains(self) -> list[tuple[int, int]]:
        """(agent, net worth in b less that in a), the largest gain first."""
        change = self.b.worth - self.a.worth
        return [(int(agent), int(change[agent])) for agent in np.argsort(-change, kind="stable")]

    def by_role(self) -> dict[str, tuple[int, int]]:
        """Net worth of each role's agents in both runs."""
        roles = {role.name.lower(): self.founded.roles == role for role in Role}
        return {
            name: (int(self.a.worth[who].sum()), int(self.b.worth[who].sum()))
            for name, who in roles.items()
            if who.any()
        }

    def prices(self) -> list[tuple[str, int, int]]:
        """(symbol, closing price in a, in b) of every instrument at the last common window."""
        if not self.windows:
            return []
        a, b = (account.figures[self.windows[-1]] for account in (self.a, self.b))
        traded = [i for i in self.founded.instruments if i.instrument_class != InstrumentClass.CURRENCY]
        keys = [(i.symbol, ("closing_price", i.instrument)) for i in traded]
        return [(symbol, a[key], b[key]) for symbol, key in keys]

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it: exact decimals with their integers beside them; the event is as recorded."""
        names, roles = self.founded.names, self.founded.roles
        places = Scales.of(self.founded.instruments).figure
        figures = [
            {"window": window, "indicator": name, "item": item, "unit": MEASURE[name].decimal_unit,
             **beside("a", value, places(name, item)),
             **beside("b", self.b.figures[window][name, item], places(name, item))}
            for window in self.windows for (name, item), value in sorted(self.a.figures[window].items())
        ]  # fmt: skip
        agents = [
            {"agent": agent, "name": names[agent], "role": Role(int(roles[agent])).name.lower(),
             **beside("a", self.a.worth[agent]), **beside("b", self.b.worth[agent]), **beside("difference", change)}
            for agent, change in self.gains()
        ]  # fmt: skip
        event = None
        if self.event is not None:
            event = {"epoch": self.epoch, "topic": self.event[0], "a": self.event[1][0], "b": self.event[1][1]}
        return {
            "a": self.a.run, "b": self.b.run, "shared_through_epoch": self.shared if self.shared > -2 else None,
            "identical": event is None, "first_difference": event, "figures": figures, "net_worth": agents,
            "net_worth_by_role": {n: {**beside("a", a), **beside("b", b)} for n, (a, b) in self.by_role().items()},
        }  # fmt: skip


def compare_runs(
    bootstrap: str, namespace: str, a: int, b: int, told: Told | None = None, models: Models = OWN_MODELS
) -> Comparison:
    """Compare two runs of the village with the same agents and calendar.

    Raises UnknownRunError, and InputError for runs that cannot be compared and for a model that is not among `models`.
    """
    histories = [read_history(bootstrap, namespace, run) for run in (a, b)]
    models.check(*(model_name(segment.started) for segments in histories for segment in segments))
    scenarios = [village_of(segments[-1].clock) for segments in histories]
    founded = [founding(bootstrap, namespace, segments[0].started) for segments in histories]
    first, second = scenarios
    if first is None or second is None:
        raise InputError("run", a if first is None else b, "only runs of a village can be compared")
    if first.calendar.epoch_ticks != second.calendar.epoch_ticks or first.calendar.rounds != second.calendar.rounds:
        raise InputError("run", b, f"its calendar is not that of run {a}")
    if founded[0].names != founded[1].names:
        raise InputError("run", b, f"its agents are not those of run {a}")
    total = sum(segments[-1].last + 1 for segments in histories)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if told is not None:
            told(done, total)

    accounts = [
        _account(bootstrap, namespace, segments, scenario, founded[0], step)
        for segments, scenario in zip(histories, (first, second), strict=True)
    ]
    shared = _shared(*histories)
    epoch, event = _first_event(bootstrap, namespace, histories[0], histories[1], shared)
    return Comparison(accounts[0], accounts[1], founded[0], shared, epoch, event)


def _account(
    bootstrap: str, namespace: str, segments: Sequence[Segment], scenario: Scenario, founded: Founding,
    step: Callable[[], None],
) -> Account:  # fmt: skip
    run = segments[-1].run
    projection, figures = WindowProjection(run, scenario, founded.roles, founded.instruments), Figures()
    for epoch, families in read_epochs(bootstrap, namespace, segments, (FLOWS, TRADES), raw_chunks):
        window = projection.feed(epoch, {name: rows for part in families.values() for name, rows in part.items()})
        if window is not None:
            figures[window.window] = window.figures
        step()
    ledger, prices, register = projection.ledger, projection.prices, projection.register
    price = prices[: len(register.unit_value)] * register.unit_value
    worth = ledger.cash + ledger.bonds + ledger.goods @ price + ledger.capital * price[ledger.capital_good]
    return Account(run, figures, worth + register.share_values(ledger, prices).sum(1))


def _shared(a: Sequence[Segment], b: Sequence[Segment]) -> int:
    """Last epoch that both histories take from the same run."""
    shared = -2
    for ours, theirs in zip(a, b, strict=False):
        if ours.run != theirs.run:
            break
        shared = min(ours.last, theirs.last)
        if ours.last != theirs.last:
            break
    return shared


def _first_event(
    bootstrap: str, namespace: str, a: Sequence[Segment], b: Sequence[Segment], shared: int
) -> tuple[int, tuple[str, Sides] | None]:
    """(epoch, (topic, both sides)) of the first event that differs behind what is shared."""
    left = [_behind(segment, shared) for segment in a if segment.last > shared]
    right = [_behind(segment, shared) for segment in b if segment.last > shared]
    ours, theirs = (read_epochs(bootstrap, namespace, each, FAMILIES, raw_chunks) for each in (left, right))
    for (epoch, mine), (_, other) in zip(ours, theirs, strict=False):
        for family in ORDER:
            if not _same(mine.get(family, {}), other.get(family, {})):
                sides = first_difference(mine.get(family, {}), other.get(family, {}), family)
                if sides is not None:
                    return epoch, (family, sides)
    return -2, None


def _behind(segment: Segment, shared: int) -> Segment:
    return Segment(segment.clock, max(segment.first, shared + 1), segment.last, segment.start, segment.end)


def _same(a: Events, b: Events) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name][:, 1:], b[name][:, 1:]) for name in a)


def render(found: Comparison) -> str:
    """For people: headline figures over the last common year, prices, winners and losers, the first difference."""
    lines = [f"run {found.a.run} (a) and run {found.b.run} (b), {len(found.windows)} common windows"]
    if found.shared > -2:
        lines[0] += f", shared through epoch {found.shared}"
    lines += ["", f"{'mean of the last year':<28}{'a':>24}{'b':>24}{'difference':>12}"]
    for name in HEADLINES:
        a, b = (sum(values[-QUARTERS:]) // max(1, len(values[-QUARTERS:])) for values in found.series(name))
        told = [MEASURE[name].text(value) for value in (a, b)]
        lines.append(f"{name:<28}{told[0]:>24}{told[1]:>24}{_percent(a, b):>12}")
    lines += ["", f"{'closing price':<28}{'a':>24}{'b':>24}{'difference':>12}"]
    price = MEASURE["closing_price"].text
    lines += [f"{symbol:<28}{price(a):>24}{price(b):>24}{_percent(a, b):>12}" for symbol, a, b in found.prices()]
    lines += ["", f"{'net worth by role':<28}{'a':>24}{'b':>24}{'difference':>12}"]
    lines += [
        f"{name:<28}{grouped(a):>24}{grouped(b):>24}{_percent(a, b):>12}" for name, (a, b) in found.by_role().items()
    ]
    gains, names = found.gains(), found.founded.names
    for title, some in (("gained most", gains[:5]), ("lost most", gains[::-1][:5])):
        lines += ["", title] + [f"    {names[agent]:<24}{grouped(change):>24}" for agent, change in some]
    lines.append("")
    if found.event is None:
        lines.append("no event differs")
    else:
        topic, (a_side, b_side) = found.event
        lines += [f"first difference: epoch {found.epoch}, {topic}", f"    a {a_side}", f"    b {b_side}"]
    return "\n".join(lines)


def _percent(a: int, b: int) -> str:
    return f"{100 * (b - a) / abs(a):+.2f} %" if a else "-"

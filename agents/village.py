"""The village economy behind the Model protocol: which agents act in which epoch of a round, and the shard around them.

A round is five epochs. E0: firms plan, pay wages, produce, offer goods and jobs. E1: half of the households shop, firms
buy inputs, the government buys, the unemployed apply. E2: the other half, inputs again, firms hire, makers quote. E3:
retries, machines, government again, second applications, shares. E4: settlement, statistics, prices are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.agenda import Agenda
from agents.interventions import SIGHT, TRADING, Change, parse
from agents.model import Intervention
from agents.outbox import Outbox
from agents.pinned import Script
from agents.public import Public, Static
from agents.roles.central_bank import CentralBank
from agents.roles.corporation import Corporations
from agents.roles.employment import hire
from agents.roles.government import Government
from agents.roles.household import Households
from agents.roles.market_maker import MarketMakers
from agents.roles.statistics_office import StatisticsOffice
from agents.sight import Sight
from agents.state import blended
from agents.trading import named, protected
from economy.calendar import PHASES
from economy.instruments import Instrument
from economy.numbers import rng
from economy.numbers.draws import Draw
from economy.opening import Opening
from economy.records import canonical
from economy.records import events as e
from economy.records.events import Events
from economy.scenario import Scenario, scenario_from_json

Ints = NDArray[np.int64]
Group = CentralBank | Corporations | Government | Households | MarketMakers


class Task(IntEnum):
    """Standing tasks; one of each per round and phase. At equal ticks they run in this order."""

    BEGIN_ROUND = 0
    CENTRAL_BANK = 1
    GOVERNMENT = 2
    CORPORATIONS = 3
    HOUSEHOLDS = 4
    MARKET_MAKERS = 5
    STATISTICS_OFFICE = 6


# Phases of a round in which each task is due.
PLAN: Final[Mapping[Task, tuple[int, ...]]] = {
    Task.BEGIN_ROUND: (0,),
    Task.CENTRAL_BANK: (0, 4),
    Task.GOVERNMENT: (0, 1, 3, 4),
    Task.CORPORATIONS: (0, 1, 2, 3, 4),
    Task.HOUSEHOLDS: (0, 1, 2, 3, 4),
    Task.MARKET_MAKERS: (2, 4),
    Task.STATISTICS_OFFICE: (4,),
}


class VillageShard:
    """The agents of one shard at a cut."""

    def __init__(self, scenario: Scenario, seed: int, run: int, shard: int, shards: int) -> None:
        self.scenario, self.run, self.shard, self.shards = scenario, run, shard, shards
        self.static = Static(scenario, seed)

    def _populate(self) -> None:
        """Make the groups of agents, once the constants are known."""
        s, p = self.static, self.static.population
        self.public = Public(s)
        self.households = Households(s, self.shard, self.shards)
        self.corporations = Corporations(s, self.shard, self.shards)
        self.makers = MarketMakers(s, self.shard, self.shards)
        self.government = Government(s) if p.government % self.shards == self.shard else None
        self.bank = CentralBank(s) if p.central_bank % self.shards == self.shard else None
        self.office = StatisticsOffice(s) if p.statistics_office % self.shards == self.shard else None
        self.counter = np.zeros(len(range(self.shard, p.size, self.shards)), np.int64)
        self.sight = Sight(p.size, self.scenario.calendar.epoch_ticks)
        self.script = Script(p.size, self.run)
        self.cut = -1

    def open(self, opening: Events) -> None:
        """State at the cut of the opening."""
        self.static.open(opening)
        self._populate()
        self.public.open(opening)
        self.households.open(opening, self.public)
        self.corporations.open(opening)
        self.makers.open(opening, self.public)
        if self.government:
            self.government.open(opening)
        if self.bank:
            self.bank.open(opening)
        if self.office:
            self.office.open(opening, self.public)
        self.counter += 1  # AgentFounded
        for kind in (e.OpeningBalance, e.OpeningParameter):
            rows = opening[kind.name]
            mine = rows[(rows[:, kind.AGENT] >= 0) & (rows[:, kind.AGENT] % self.shards == self.shard)]
            np.maximum.at(self.counter, mine[:, kind.AGENT] // self.shards, mine[:, kind.N])
        ticks = self.scenario.calendar.epoch_ticks
        standing = [(phase * ticks, task) for task, phases in PLAN.items() for phase in phases]
        self.agenda = Agenda(np.array(standing, np.int64), 0, self._wake)

    def step(self, epoch: int, interventions: Sequence[Intervention]) -> Events:
        """Decisions, flows and orders of one epoch."""
        for key, value in interventions:
            self._intervene(parse(key, value, self.scenario))
        self._out = Outbox(self.run, self.shards, self.counter, self.public.strategy)
        self._epoch = epoch
        length = self.scenario.calendar.epoch_ticks
        self.agenda.run((epoch + 1) * length)
        ticks = epoch * length, (epoch + 1) * length
        own = self._out.events()
        sent = self.script.play(ticks, own, self.counter, self.shards, self.households, self.makers, self.public)
        return self._heard(sent)

    def learn(self, recorded: Events) -> None:
        """Keep what agents of this shard did elsewhere, for when they are pinned to it."""
        self.script.learn(recorded, self.shard, self.shards)

    def _intervene(self, change: Change) -> None:
        if change.kind in SIGHT:
            self.sight.change(change, self.public, self.cut)
        elif change.kind == "pin":
            self.script.pin(change.agents, int(change.value or 0))
        else:
            self.public.intervene(change)

    def _shown(self, group: Group, act: Callable[[Outbox, Public], None]) -> None:
        """Let a group decide by what it is shown. Where its agents are shown different things, it decides once by each,
        and of every agent that is taken which he was shown: in one epoch no agent knows what another one does."""
        ids = group.id if isinstance(group, CentralBank | Government) else group.ids
        views = self.sight.views(self.public, ids, self.cut)
        if len(views) == 1:
            act(self._out, views[0][1])
            return
        before, counter, after = self._saved(group), self.counter.copy(), []
        for mine, view in views:
            self._restored(group, before)
            counting = counter.copy()
            out = Outbox(self.run, self.shards, counting, self.public.strategy)
            act(out, view)
            self._out.take(out.events(), ids[mine])
            self.counter[ids[mine] // self.shards] = counting[ids[mine] // self.shards]
            after.append((mine, self._saved(group)))
        self._restored(group, blended(after, [f"own.{name}" for name in group.LISTS]))

    def _saved(self, group: Group) -> dict[str, NDArray[Any]]:
        register = group.register.dump("register") if isinstance(group, Corporations | MarketMakers) else {}
        return group.dump("own") | register

    def _restored(self, group: Group, state: Mapping[str, NDArray[Any]]) -> None:
        group.load("own", state)
        if isinstance(group, Corporations | MarketMakers):
            group.register.load("register", state)

    def _heard(self, events: Events) -> Events:
        """What the agents send that have not been taken out."""
        silent = self.public.silent
        if not silent.any():
            return events
        heard = {name: rows[silent[rows[:, canonical.AGENT]] == 0] for name, rows in events.items()}
        return {name: rows for name, rows in heard.items() if len(rows)}

    def apply(self, epoch: int, flows: Events, trades: Events) -> None:
        """Make the cut. Agents book at the prices of the round, then everybody learns the new ones."""
        self.households.apply(flows, trades, self.scenario.time.phase_of(epoch) == PHASES - 1)
        self.corporations.apply(self.public, flows, trades)
        self.makers.apply(flows, trades)
        if self.government:
            self.government.apply(flows, trades)
        if self.bank:
            self.bank.apply(flows, trades)
        if self.office:
            self.office.apply(self.public, flows, trades)
        self.public.apply(flows, trades)
        self.cut = epoch
        self.sight.note(self.public, epoch)

    # ---- scheduling
    def _wake(self, task: int, tick: int) -> int:
        """Do a standing task; it is due again in a round."""
        time = self.scenario.time
        epoch = time.epoch_of(tick)
        phase, number = time.phase_of(epoch), time.round_of(epoch)
        start = number * time.round_ticks
        kind = Task(task)
        if kind == Task.BEGIN_ROUND:
            self.public.start_round(start)
        elif kind == Task.CENTRAL_BANK and self.bank:
            bank = self.bank
            self._shown(bank, lambda out, public: self._central_bank(bank, out, public, phase, number))
        elif kind == Task.GOVERNMENT and self.government:
            state = self.government
            self._shown(state, lambda out, public: self._government(state, out, public, phase, number))
        elif kind == Task.CORPORATIONS:
            self._shown(self.corporations, lambda out, public: self._corporations(out, public, phase, number, start))
        elif kind == Task.HOUSEHOLDS:
            self._shown(self.households, lambda out, public: self._households(out, public, phase, start))
        elif kind == Task.MARKET_MAKERS:
            self._shown(self.makers, lambda out, public: self._makers(out, public, phase, number, start))
        elif kind == Task.STATISTICS_OFFICE and self.office:
            self.office.publish(self._out, self.public, self._tick(self.office.id), number)
        return time.round_ticks

    def _ticks(self, ids: Ints) -> Ints:
        """The tick in this epoch at which each agent acts."""
        length = self.scenario.calendar.epoch_ticks
        return rng.ticks_in_epoch(self.static.seed, ids, Draw.ACTING_TICK, self._epoch, length)

    def _tick(self, ids: Ints) -> int:
        return int(self._ticks(ids)[0])

    def _quarter_ends(self, number: int) -> bool:
        return (number + 1) % self.scenario.calendar.rounds == 0

    def _central_bank(self, bank: CentralBank, out: Outbox, public: Public, phase: int, number: int) -> None:
        tick = self._tick(bank.id)
        if phase == 0:
            begins = number > 0 and number % self.scenario.calendar.rounds == 0
            bank.begin(out, public, tick, begins)
        else:
            bank.end(out, public, tick, self._quarter_ends(number))

    def _government(self, government: Government, out: Outbox, public: Public, phase: int, number: int) -> None:
        tick = self._tick(government.id)
        if phase == 0:
            if number > 0 and number % self.scenario.calendar.rounds == 0:
                government.set_policy(out, public, tick)
        elif phase in (1, 3):
            government.buy(out, public, tick, number, phase == 1)
        else:
            government.pay(out, tick, self._quarter_ends(number), public)
            government.finance(out, public, tick, number)

    def _corporations(self, out: Outbox, public: Public, phase: int, number: int, start: int) -> None:
        firms = self.corporations
        ticks = self._ticks(firms.ids)
        if phase == 0:
            firms.begin(out, public, ticks, start, number, self._last_trading_tick(start))
        elif phase == 1:
            firms.refound(out, public, ticks)
            firms.buy_inputs(out, public, ticks, plan=True)
        elif phase == 2:
            hire(firms, out, public, ticks, again=True)
            firms.buy_inputs(out, public, ticks, plan=False)
        elif phase == 3:
            firms.invest(out, public, ticks, start, number)
        else:
            firms.book_services(out, public, ticks)
            hire(firms, out, public, ticks, again=False)
            firms.settle(out, public, ticks, number)
            firms.fail(out, public, ticks, number)

    def _households(self, out: Outbox, public: Public, phase: int, start: int) -> None:
        people = self.households
        ticks = self._ticks(people.ids)
        epoch_start = self._epoch * self.scenario.calendar.epoch_ticks
        if phase == 0:
            people.found(out, public, ticks)
        elif phase == PHASES - 1:
            people.quit(out, public, ticks, start)
        else:
            people.shop(out, public, ticks, start, phase)
        if phase in (1, 3):
            people.look_for_work(out, public, ticks, epoch_start)
        if phase == 3:
            people.claim_benefits(out, ticks)
            people.trade_shares(out, public, ticks, start)

    def _makers(self, out: Outbox, public: Public, phase: int, number: int, start: int) -> None:
        ticks = self._ticks(self.makers.ids)
        if phase == 2:
            self.makers.quote(out, public, ticks, self._last_trading_tick(start))
        elif self._quarter_ends(number):
            self.makers.pay_out(out, public, ticks, number)

    def _last_trading_tick(self, start: int) -> int:
        """Asks and quotes stand until the end of E3."""
        return start + (PHASES - 1) * self.scenario.calendar.epoch_ticks - 1

    # ---- snapshots
    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "public": self.public,
            "sight": self.sight,
            "script": self.script,
            "households": self.households,
            "corporations": self.corporations,
            "corporations.register": self.corporations.register,
            "makers": self.makers,
            "makers.register": self.makers.register,
        }
        single = {"government": self.government, "bank": self.bank, "office": self.office}
        return parts | {name: part for name, part in single.items() if part is not None}

    def dump(self) -> dict[str, NDArray[Any]]:
        """State at the cut, as arrays."""
        state = self.static.dump("static")
        for name, part in self._parts().items():
            state |= part.dump(name)
        state["counter"] = self.counter.copy()
        state["cut"] = np.array([self.cut], np.int64)
        state["agenda"] = self.agenda.rows.copy()
        return state

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `dump` gave."""
        self.static.load("static", state)
        self._populate()
        for name, part in self._parts().items():
            part.load(name, state)
        self.counter = state["counter"].copy()
        self.cut = int(state["cut"][0])
        now = (self.cut + 1) * self.scenario.calendar.epoch_ticks
        self.agenda = Agenda(state["agenda"].copy(), now, self._wake)


class VillageModel:
    """The village for a scenario and seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.seed, self.name = scenario, seed, scenario.name
        self.epoch_ticks, self.last_epoch = scenario.calendar.epoch_ticks, scenario.last_epoch

    @cached_property
    def _opening(self) -> Opening:
        return Opening(self.scenario, self.seed)

    def scenario_json(self) -> str:
        """The scenario as canonical JSON."""
        return self.scenario.canonical_json()

    def instruments(self, changes: Sequence[Intervention] = ()) -> Sequence[Instrument]:
        """Every product and every listed share, under the rules of trading that the changes leave."""
        told = [parse(key, value, self.scenario) for key, value in changes]
        return protected(self._opening.instruments(), told, self.epoch_ticks)

    def pinned(self, changes: Sequence[Intervention]) -> Ints:
        """Agents that the changes hold to their records."""
        found = [parse(key, value, self.scenario) for key, value in changes]
        return np.unique(
            np.concatenate([c.agents for c in found if c.kind == "pin" and c.value] or [np.empty(0, np.int64)])
        )

    def opening(self, run: int) -> tuple[Events, Sequence[tuple[str, Mapping[str, Any]]]]:
        """Opening records, and who there is."""
        return self._opening.events(run), self._opening.founded(run)

    def check(self, key: str, value: str) -> None:
        """Raises InputError for an intervention that is not on the menu."""
        change = parse(key, value, self.scenario)
        if change.kind in TRADING:
            named(change, self._opening.instruments())

    def new_shard(self, run: int, shard: int, shards: int, opening: Events) -> VillageShard:
        """A shard at the cut of the opening."""
        made = VillageShard(self.scenario, self.seed, run, shard, shards)
        made.open(opening)
        return made

    def load_shard(self, run: int, shard: int, shards: int, state: Mapping[str, NDArray[Any]]) -> VillageShard:
        """A shard from what `dump` gave."""
        made = VillageShard(self.scenario, self.seed, run, shard, shards)
        made.load(state)
        return made


def make(scenario_json: str, seed: int) -> VillageModel:
    """The factory that RunStarted names."""
    return VillageModel(scenario_from_json(scenario_json), seed)

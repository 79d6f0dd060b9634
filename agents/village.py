"""The village economy behind the Model protocol: which agents act in which epoch of a round, and the shard around them.

A round is five epochs. E0: firms plan, pay wages, produce, offer goods and jobs. E1: half of the households shop, firms
buy inputs, the government buys, the unemployed apply. E2: the other half, inputs again, firms hire, makers quote. E3:
retries, machines, government again, second applications, shares. E4: settlement, statistics, prices are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.agenda import Agenda
from agents.interventions import parse
from agents.model import Intervention
from agents.outbox import Outbox
from agents.public import Public, Static
from agents.roles.central_bank import CentralBank
from agents.roles.corporation import Corporations
from agents.roles.employment import hire
from agents.roles.government import Government
from agents.roles.household import Households
from agents.roles.market_maker import MarketMakers
from agents.roles.statistics_office import StatisticsOffice
from economy import canonical, rng
from economy import events as e
from economy.calendar import PHASES
from economy.draws import Draw
from economy.events import Events
from economy.instruments import Instrument
from economy.opening import Opening
from economy.scenario import Scenario, scenario_from_json

Ints = NDArray[np.int64]
FACTORY: Final = "agents.village:make"


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
            self.public.intervene(key, value)
        self._out = Outbox(self.run, self.shards, self.counter)
        self._epoch = epoch
        self.agenda.run((epoch + 1) * self.scenario.calendar.epoch_ticks)
        return self._heard(self._out.events())

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
            self._central_bank(self.bank, phase, number)
        elif kind == Task.GOVERNMENT and self.government:
            self._government(self.government, phase, number)
        elif kind == Task.CORPORATIONS:
            self._corporations(phase, number, start)
        elif kind == Task.HOUSEHOLDS:
            self._households(phase, start)
        elif kind == Task.MARKET_MAKERS:
            self._makers(phase, number, start)
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

    def _central_bank(self, bank: CentralBank, phase: int, number: int) -> None:
        tick = self._tick(bank.id)
        if phase == 0:
            begins = number > 0 and number % self.scenario.calendar.rounds == 0
            bank.begin(self._out, self.public, tick, begins)
        else:
            bank.end(self._out, self.public, tick, self._quarter_ends(number))

    def _government(self, government: Government, phase: int, number: int) -> None:
        tick = self._tick(government.id)
        if phase == 0:
            if number > 0 and number % self.scenario.calendar.rounds == 0:
                government.set_policy(self._out, self.public, tick)
        elif phase in (1, 3):
            government.buy(self._out, self.public, tick, number, phase == 1)
        else:
            government.pay(self._out, tick, self._quarter_ends(number), self.public)
            government.finance(self._out, self.public, tick, number)

    def _corporations(self, phase: int, number: int, start: int) -> None:
        firms, out, public = self.corporations, self._out, self.public
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

    def _households(self, phase: int, start: int) -> None:
        people, out, public = self.households, self._out, self.public
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

    def _makers(self, phase: int, number: int, start: int) -> None:
        ticks = self._ticks(self.makers.ids)
        if phase == 2:
            self.makers.quote(self._out, self.public, ticks, self._last_trading_tick(start))
        elif self._quarter_ends(number):
            self.makers.pay_out(self._out, self.public, ticks, number)

    def _last_trading_tick(self, start: int) -> int:
        """Asks and quotes stand until the end of E3."""
        return start + (PHASES - 1) * self.scenario.calendar.epoch_ticks - 1

    # ---- snapshots
    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {
            "public": self.public,
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

    def instruments(self) -> Sequence[Instrument]:
        """Every product and every listed share."""
        return self._opening.instruments()

    def opening(self, run: int) -> tuple[Events, Sequence[tuple[str, Mapping[str, Any]]]]:
        """Opening records, and who there is."""
        return self._opening.events(run), self._opening.founded(run)

    def check(self, key: str, value: str) -> None:
        """Raises InputError for an intervention that is not on the menu."""
        parse(key, value, self.scenario)

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

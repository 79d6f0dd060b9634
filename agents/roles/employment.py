"""The corporations' side of the labour market: dismiss, pay, offer jobs, hire (Caiani et al. 2016, section 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.outbox import Outbox
from agents.public import Public
from agents.roles import corporation_rules as rules
from agents.roles.corporation_state import CorporationState
from economy.numbers import rng
from economy.numbers.draws import Draw
from economy.numbers.exact import sum_by
from economy.opening import LABOUR, LOT
from economy.records import events as e
from economy.records.events import Action, ContractKind, EndReason, Role, TransferKind

Ints = NDArray[np.int64]


def employ(firms: CorporationState, out: Outbox, public: Public, ticks: Ints, start: int) -> Ints:
    """Dismiss what is in excess or cannot be paid; wages for the round; offer the jobs that are open.

    Returns the labour that each corporation employs in the round, (firms,).
    """
    s, c, f = firms.static, firms.static.scenario.labour, len(firms.ids)
    employer, skill, p = public.employer.copy(), public.skill, firms.static.population
    local = np.where(employer >= 0, firms.place[employer], -1)
    firms.need = firms.plan / LOT * firms.labour * LABOUR
    have = sum_by(local, skill, f)
    affordable = firms.cash / np.maximum(firms.wage, 1)
    largest = int(skill.max())
    excess = np.where(have > firms.need * (1 + c.fire_band), c.fire_speed * (have - firms.need), 0.0)
    short = affordable < have
    excess = np.where(short, np.maximum(excess, have - affordable + 0.5 * largest), excess)
    lots = rng.bits(s.seed, p.everybody, Draw.DISMISSAL, start)
    order = np.argsort(lots, kind="stable").astype(np.int64)
    gone = rules.dismissals(order, employer, skill, firms.place, excess)
    if len(gone):
        at = local[gone]
        count = sum_by(at, np.ones(len(gone), np.int64), f)
        who = np.flatnonzero(count)
        out.decide(
            Role.CORPORATION, firms.ids[who], ticks[who], Action.DISMISS, count[who], have[who],
            firms.need[who].astype(np.int64), short[who],
        )  # fmt: skip
        out.end_contracts(firms.ids[at], ticks[at], firms.ids[at], p.first_household + gone, EndReason.DISMISSED)
        local[gone] = -1
    workers = np.flatnonzero(local >= 0)
    at = local[workers]
    gross = skill[workers] * firms.wage[at]
    out.transfer(TransferKind.WAGE, firms.ids[at], ticks[at], p.first_household + workers, gross, public.tax(gross))
    bill = sum_by(at, gross, f)
    firms.cash -= bill
    firms.profit -= bill
    firms.reserve = np.maximum(bill, firms.wage * firms.need)
    staff = sum_by(local, skill, f)
    # Who is hired now works from the next round on, so jobs are offered a little ahead of need.
    aimed = firms.need * (1 + c.hiring_lead)
    wanted = np.minimum(aimed, affordable * 0.97 - largest) - staff
    firms.vacancy = np.where(staff < aimed - 0.005 * firms.need, np.maximum(wanted, 0), 0).astype(np.int64)
    offer_jobs(firms, out, ticks)
    return staff


def offer_jobs(firms: CorporationState, out: Outbox, ticks: Ints) -> None:
    """One standing offer for all the labour that a firm lacks."""
    who = np.flatnonzero(firms.vacancy > 0)
    o = e.ContractOffered
    out.decide(
        Role.CORPORATION, firms.ids[who], ticks[who], Action.OFFER, firms.vacancy[who], firms.wage[who],
        firms.need[who].astype(np.int64),
    )  # fmt: skip
    out.add(o.name, o.width, firms.ids[who], ticks[who], ContractKind.EMPLOYMENT, firms.vacancy[who], firms.wage[who])


def hire(firms: CorporationState, out: Outbox, public: Public, ticks: Ints, again: bool) -> None:
    """Take applicants in the order of arrival while more than half of each is wanted; offer the rest again."""
    p, s = firms.static.population, e.ContractSigned
    chosen = []
    for firm, worker, lots in firms.applications.tolist():
        if firms.vacancy[firm] * 2 > lots and public.employer[worker] < 0:
            firms.vacancy[firm] -= lots
            chosen.append((firm, worker, lots))
    if chosen:
        i, worker, lots = np.array(chosen, np.int64).T
        out.decide(Role.CORPORATION, firms.ids[i], ticks[i], Action.HIRE, p.first_household + worker, lots)
        out.add(
            s.name, s.width, firms.ids[i], ticks[i], p.first_household + worker, ContractKind.EMPLOYMENT, lots,
            firms.wage[i],
        )  # fmt: skip
    firms.applications = firms.applications[:0]
    firms.vacancy = np.maximum(firms.vacancy, 0)
    if again:
        offer_jobs(firms, out, ticks)
    else:
        firms.vacant += 0.1 * (firms.vacancy / np.maximum(firms.need, 1) - firms.vacant)

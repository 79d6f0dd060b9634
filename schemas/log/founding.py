"""Who and what there is in a run: the opening's cold records, which epochs of integer rows do not carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from economy.errors import ProtocolError, ScenarioError
from economy.instruments import Instrument
from economy.records import events as e
from economy.records.events import Role
from economy.scenario import Scenario, scenario_from_json
from schemas.catalogue import FLOWS, ORDERS
from schemas.log.clocklog import ClockLog
from schemas.log.reader import Chunk, Place, end_offsets, read_range


@dataclass(frozen=True)
class Founding:
    """Roles (agents,) as Role numbers and names by agent id, and the instruments in the order of their ids."""

    roles: NDArray[np.int64]
    names: tuple[str, ...]
    instruments: tuple[Instrument, ...]


def village_of(clock: ClockLog) -> Scenario | None:
    """Scenario of a run of the village, None for any other run (a tape, a model of its own) or none started."""
    if clock.started is None:
        return None
    try:
        return scenario_from_json(clock.started["scenario"])
    except ScenarioError:
        return None


def founding(bootstrap: str, namespace: str, started: Mapping[str, Any]) -> Founding:
    """Read a run's AgentFounded and InstrumentListed from where RunStarted says that the run begins.

    Raises ProtocolError when agent ids have gaps, or a role is not known.
    """
    run = started["run"]
    start: dict[Place, int] = {
        (family, p): offset for family in (FLOWS, ORDERS) for p, offset in enumerate(started["start_offsets"][family])
    }
    # RunStarted follows the opening, so all of it lies before the present end.
    end = end_offsets(bootstrap, namespace, list(start))
    agents: dict[int, tuple[int, str]] = {}
    listed: dict[int, Instrument] = {}
    left = {place for place in start if start[place] < end[place]}
    for chunk in read_range(bootstrap, namespace, start, end):
        for _, name, record in chunk.cold:
            if record["run"] != run:
                continue
            if name == "AgentFounded":
                agents[record["agent"]] = (_role(record), record["name"])
            elif name == "InstrumentListed":
                listed[record["instrument"]] = Instrument.from_record(record)
        if _opened(chunk, run) or chunk.offsets[-1] + 1 >= end[chunk.place]:
            left.discard(chunk.place)
        if not left:
            break
    if sorted(agents) != list(range(len(agents))):
        raise ProtocolError(f"agent ids of run {run} are not 0 to {len(agents) - 1}", "verify the run")
    members = [agents[agent] for agent in range(len(agents))]
    return Founding(
        np.array([role for role, _ in members], np.int64),
        tuple(name for _, name in members),
        tuple(listed[instrument] for instrument in sorted(listed)),
    )


def _role(record: Mapping[str, Any]) -> Role:
    role = Role.__members__.get(record["role"].upper())
    if role is None:
        said = f"agent {record['agent']} of run {record['run']} has the unknown role {record['role']!r}"
        raise ProtocolError(said, "use the version of the program that wrote the run")
    return role


def _opened(chunk: Chunk, run: int) -> bool:
    """True when the chunk holds a marker of the run: its first one in a partition follows the opening."""
    c = e.EpochClosed
    return c.name in chunk.rows and bool((chunk.rows[c.name][:, c.RUN] == run).any())

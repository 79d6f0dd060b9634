"""How a run is opened, closed and described on the log; shared by the carriers."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.model import Intervention, Model
from economy.errors import InputError
from economy.records import canonical
from economy.records import events as e
from economy.records.digest import DIGEST_VERSION, mark
from economy.records.events import ChainScope, RunMode
from economy.scenario import RULES_VERSION
from schemas.catalogue import DECISIONS, EVENTS, FLOWS, ORDERS, TRADES, locked_ids, partition_of
from schemas.log.assembly import OPENING, STARTER
from schemas.log.reader import Place, end_offsets
from schemas.log.writer import LogWriter

_LOCK = Path(__file__).parent.parent / "requirements.lock"


@dataclass(frozen=True)
class RunSpec:
    """A run to start: what is computed, and on how many shards and partitions."""

    run: int
    model: str  # factory, module:function
    scenario: str  # canonical JSON
    seed: int
    shards: int
    partitions: int
    flow_partitions: int
    rules_version: int = RULES_VERSION
    parent: int = 0  # of a fork: the run that it leaves, after this epoch, with the state in this file
    parent_epoch: int = -1
    checkpoint: str = ""
    interventions: tuple[tuple[str, str], ...] = ()  # (key, value as JSON) that a fork begins with

    @classmethod
    def from_json(cls, text: str) -> RunSpec:
        """What `json.dumps(asdict(spec))` wrote."""
        told = json.loads(text)
        return cls(**told | {"interventions": tuple((key, value) for key, value in told["interventions"])})


def new_run_id() -> int:
    """A run id: milliseconds since 1970, unique enough for people who start runs by hand."""
    return time.time_ns() // 1_000_000


def environment(model: str) -> dict[str, str]:
    """What the promise of equal digests depends on."""
    lock = hashlib.sha256(_LOCK.read_bytes()).hexdigest() if _LOCK.exists() else ""
    return {
        "model": model,
        "lock": lock,
        "machine": platform.machine(),
        "system": platform.system(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }


def unlike_here(started: Mapping[str, Any]) -> str:
    """Why a run cannot be computed again here with the same result; "" when it can."""
    then, now = started["environment"], environment(started["environment"].get("model", ""))
    if started["rules_version"] != RunSpec.rules_version:
        return f"the run has rules version {started['rules_version']}, this program {RunSpec.rules_version}"
    for key, what in (("lock", "locked environment"), ("machine", "CPU architecture")):
        if then.get(key) != now[key]:
            return f"the run was computed with another {what}: {then.get(key) or 'unknown'}, here {now[key]}"
    return "" if now["model"] else "the run does not name its model"


def cut_at(tick: int, epoch_ticks: int, last_epoch: int) -> int:
    """Epoch whose cut is the state before a tick. Raises InputError for a tick that is no cut, naming both cuts."""
    end = (last_epoch + 1) * epoch_ticks
    if not 0 <= tick <= end:
        raise InputError("tick", tick, f"give 0 to {end}")
    if tick % epoch_ticks:
        below = tick - tick % epoch_ticks
        raise InputError("tick", tick, f"it lies inside an epoch: give {below} or {below + epoch_ticks}")
    return tick // epoch_ticks - 1


def places(spec_partitions: int, flow_partitions: int) -> list[Place]:
    """Every partition that holds a run's records, the clock's apart."""
    counts = {DECISIONS: flow_partitions, FLOWS: flow_partitions, ORDERS: spec_partitions, TRADES: spec_partitions}
    return [(family, p) for family, count in counts.items() for p in range(count)]


def by_family(offsets: Mapping[Place, int]) -> dict[str, list[int]]:
    """Offsets per partition as lists by family."""
    out: dict[str, list[int]] = {}
    for (family, _), offset in sorted(offsets.items()):
        out.setdefault(family, []).append(offset)
    return out


def _started(spec: RunSpec, model: Model, start: Mapping[str, list[int]]) -> dict[str, Any]:
    """RunStarted of a run that begins at these offsets."""
    return {
        "run": spec.run,
        "scenario_name": model.name,
        "scenario": spec.scenario,
        "seed": spec.seed,
        "rules_version": spec.rules_version,
        "digest_version": DIGEST_VERSION,
        "schemas": {str(EVENTS[name].schema_id): entries[-1]["fingerprint"] for name, entries in locked_ids().items()},
        "environment": environment(spec.model),
        "shards": spec.shards,
        "partitions": spec.partitions,
        "flow_partitions": spec.flow_partitions,
        "epoch_ticks": model.epoch_ticks,
        "last_epoch": model.last_epoch,
        "start_offsets": start,
        "parent": spec.parent,
        "parent_epoch": spec.parent_epoch,
        "parent_offsets": {},
        "wall_time": time.time_ns() // 1_000_000,
    }


def start_of(
    bootstrap: str, namespace: str, writer: LogWriter, spec: RunSpec, model: Model,
    changes: Sequence[Intervention] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write RunOpened and the instruments, under the rules of trading that changes leave; returns the RunStarted to
    write when all else is there."""
    start = by_family(end_offsets(bootstrap, namespace, places(spec.partitions, spec.flow_partitions)))
    opened = np.array(
        [[
            spec.run, RunMode.EPOCHS, spec.seed, spec.shards, spec.partitions, spec.flow_partitions, model.epoch_ticks,
            model.last_epoch,
        ]],
        np.int64,
    )  # fmt: skip
    for family, partition in places(spec.partitions, spec.flow_partitions):
        if family != TRADES:
            writer.send_rows(e.RunOpened.name, opened, partition, family)
    for instrument in model.instruments(changes):
        partition = partition_of(instrument.instrument, spec.partitions)
        writer.send_record("InstrumentListed", instrument.record(spec.run), partition)
    return _started(spec, model, start)


def open_run(bootstrap: str, namespace: str, writer: LogWriter, spec: RunSpec, model: Model) -> dict[str, Any]:
    """Write RunOpened, the instruments and the opening everywhere, then RunStarted; returns the latter.

    Safe to repeat after a crash before RunStarted: equal records collapse.
    """
    started = start_of(bootstrap, namespace, writer, spec, model)
    rows, cold = model.opening(spec.run)
    for name, record in cold:
        writer.send_record(name, record, partition_of(record["agent"], spec.flow_partitions))
    for partition in range(spec.flow_partitions):
        part = {
            name: batch[batch[:, canonical.AGENT] % spec.flow_partitions == partition] for name, batch in rows.items()
        }
        for name, batch in part.items():
            writer.send_rows(name, batch, partition)
        count, digest, chain = mark(part, ChainScope.FLOWS, 0)
        marker = [[spec.run, OPENING, STARTER, partition, count, digest, chain, 0, 0]]
        writer.send_rows(e.EpochClosed.name, np.array(marker, np.int64), partition, FLOWS)
    writer.flush()
    writer.send_record("RunStarted", started, 0)
    writer.flush()
    return started


def close_run(writer: LogWriter, run: int, partitions: int, flow_partitions: int) -> None:
    """RunClosed in every order, decision and flow partition."""
    for family, partition in places(partitions, flow_partitions):
        if family != TRADES:
            writer.send_rows(e.RunClosed.name, np.array([[run]], np.int64), partition, family)
    writer.flush()

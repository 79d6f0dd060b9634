"""Runs as the log knows them: which there are, their state, and their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from economy.errors import UnknownRunError
from schemas.catalogue import DECISIONS, FLOWS, ORDERS, TRADES
from schemas.log.assembly import EpochAssembler
from schemas.log.clocklog import ClockLog, read_clocks
from schemas.log.reader import Place, end_offsets, read_range

DELETED = "deleted by `escape runs delete`"  # reason of the RunAborted that hides a run
_FAMILIES = (FLOWS, DECISIONS, ORDERS, TRADES)


@dataclass(frozen=True)
class RunInfo:
    """One run: what was started, how far it got."""

    run: int
    scenario: str
    seed: int
    state: str  # open, paused, finished, aborted
    granted: int
    last_epoch: int
    epoch_ticks: int
    digest: str
    started: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        shown = {k: v for k, v in self.__dict__.items() if k != "started"}
        keys = ("shards", "partitions", "flow_partitions", "rules_version", "wall_time", "start_offsets", "environment")
        return shown | {key: self.started[key] for key in keys}


def _info(log: ClockLog) -> RunInfo:
    assert log.started is not None
    state = "open"
    if log.finished is not None:
        state = "finished"
    elif log.aborted is not None:
        state = "aborted"
    elif log.paused:
        state = "paused"
    s = log.started
    digest = log.finished["digest"] if log.finished else ""
    return RunInfo(
        log.run, s["scenario_name"], s["seed"], state, log.granted, s["last_epoch"], s["epoch_ticks"], digest, s
    )


def list_runs(bootstrap: str, namespace: str) -> list[RunInfo]:
    """Every run on the log, oldest first."""
    return [
        _info(log) for log in read_clocks(bootstrap, namespace) if log.started is not None and log.aborted != DELETED
    ]


def find_run(bootstrap: str, namespace: str, run: int) -> RunInfo:
    """One run. Raises UnknownRunError naming the ones that there are."""
    known = {info.run: info for info in list_runs(bootstrap, namespace)}
    if run not in known:
        some = ", ".join(map(str, sorted(known)[-5:])) or "none yet"
        raise UnknownRunError("run", run, f"known runs: {some}; `escape runs list` shows all")
    return known[run]


def epochs_of(
    bootstrap: str, namespace: str, info: RunInfo, families: Sequence[str] = _FAMILIES
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Unique records of a run epoch by epoch, the opening first: (epoch, family -> events in canonical order)."""
    s = info.started
    assembler = EpochAssembler(info.run, s["shards"], s["partitions"], s["flow_partitions"], s["epoch_ticks"], families)
    start: dict[Place, int] = {
        (family, p): offset for family in families for p, offset in enumerate(s["start_offsets"][family])
    }
    for chunk in read_range(bootstrap, namespace, start, end_offsets(bootstrap, namespace, list(start))):
        assembler.add(chunk)
        while assembler.complete():
            number, taken, last = assembler.take()
            yield number, taken
            if last:
                return

"""Runs as the log knows them: which there are, their state, and their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from economy.errors import UnknownRunError
from runs.rawread import raw_chunks
from schemas.log.clocklog import DELETED, ClockLog, read_clocks
from schemas.log.history import FAMILIES, read_epochs, read_history


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

    @property
    def going_on(self) -> bool:
        """Whether the run has not ended."""
        return self.state in ("open", "paused")

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        shown = {k: v for k, v in self.__dict__.items() if k != "started"}
        keys = (
            "parent",
            "parent_epoch",
            "shards",
            "partitions",
            "flow_partitions",
            "rules_version",
            "wall_time",
            "start_offsets",
            "environment",
        )
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
    bootstrap: str, namespace: str, info: RunInfo, families: Sequence[str] = FAMILIES
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Unique records of a run and its ancestors, epoch by epoch: (epoch, family -> events in canonical order)."""
    yield from read_epochs(bootstrap, namespace, read_history(bootstrap, namespace, info.run), families, raw_chunks)

"""Tables in memory that hold two runs without records, for tests that look at requests alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

RUN = {
    "run": 1, "scenario": "village", "seed": 1, "state": "stored", "digest": "d1", "root": "r", "epochs": 1,
    "ticks": 20, "shards": 1, "partitions": 1, "flow_partitions": 1, "epoch_ticks": 20, "rules_version": 1,
    "digest_version": 1, "parent": 0, "parent_epoch": -1, "config": "{}", "environment": "{}", "start_offsets": "{}",
    "end_offsets": "{}", "reason": "", "started_at": "", "finished_at": "",
}  # fmt: skip


class Tables:
    """A table of runs in memory that counts its statements and can fail."""

    def __init__(self) -> None:
        self.runs: dict[int, dict[str, Any]] = {1: dict(RUN), 2: {**RUN, "run": 2, "state": "open", "digest": ""}}
        self.computed = "2026-01-01"
        self.statements = 0
        self.failure: Exception | None = None

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.statements += 1
        if self.failure is not None:
            raise self.failure
        if "{limit:UInt32}" in sql and "FROM runs" not in sql:
            return []  # no records
        found = [self.runs[v] for k, v in parameters.items() if k.startswith("run") and v in self.runs]
        if "UNION ALL" in sql:
            return []
        if "max(run)" in sql:
            return [{"run": max(self.runs)}]
        if "count()" in sql:
            return [{**run, "tick": 5, "trades": self.statements, "windows": 0} for run in found]
        return [{**run, "computed": self.computed} for run in found]

    def packed(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        raise AssertionError("no records here")

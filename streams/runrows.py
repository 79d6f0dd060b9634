"""The row of a run in ClickHouse, told by the records of the clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from schemas.clickhouse import STORED

Row = dict[str, Any]

_LATEST: Final = 4_102_444_800_000  # ms since 1970: the year 2100, behind which a column cannot hold what is claimed
EMPTY: Final[Mapping[str, Any]] = {
    "run": 0, "namespace": "", "scenario": "", "seed": 0, "state": "open", "digest": "", "root": "",
    "epochs": 0, "ticks": 0, "shards": 0, "partitions": 0, "flow_partitions": 0, "epoch_ticks": 0,
    "rules_version": 0, "digest_version": 0, "parent": 0, "parent_epoch": -1, "config": "{}", "environment": "{}",
    "start_offsets": "{}", "end_offsets": "{}", "reason": "",
    "tape": "", "started_at": None, "finished_at": None, "version": 0,
}  # fmt: skip


def apply(row: Row, name: str, record: Mapping[str, Any]) -> Row:
    """The row after one record of the clock. Repeating records changes nothing."""
    new = dict(row)
    complete = row["state"] == STORED  # a later state than finished
    if name == "RunStarted":
        new |= {
            "scenario": record["scenario_name"],
            "config": record["scenario"],
            "epochs": record["last_epoch"] + 1,
            "environment": json.dumps(record["environment"], sort_keys=True),
            "start_offsets": json.dumps(record["start_offsets"], sort_keys=True),
            "started_at": _date(record["wall_time"]),
        }
        same = ("seed", "shards", "partitions", "flow_partitions", "epoch_ticks", "rules_version", "digest_version")
        new |= {field: record[field] for field in (*same, "parent", "parent_epoch")}
    elif name == "RunFinished":
        new |= {"digest": record["digest"], "root": record["root"], "ticks": record["ticks"], "reason": ""}
        new["end_offsets"] = json.dumps(record["end_offsets"], sort_keys=True)
        new["state"] = row["state"] if complete else "finished"
    elif name == "RunAborted" and not complete:
        new |= {"state": "aborted", "reason": record["reason"]}
    elif name == "RunPaused" and row["state"] == "open":
        new["state"] = "paused"
    elif name == "RunResumed" and row["state"] in ("paused", "aborted"):
        new["state"] = "open"
    if new["state"] in ("finished", "aborted") and new["finished_at"] is None:
        new["finished_at"] = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    return new


def _date(ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(ms, 0), _LATEST) / 1000, UTC).replace(tzinfo=None)


def reached(position: Mapping[tuple[str, int], int], row: Row) -> bool:
    """True when the tables hold every record of a finished run."""
    ends: dict[str, list[int]] = json.loads(row["end_offsets"])
    return all(position.get((f, p), 0) >= end for f, found in ends.items() for p, end in enumerate(found))

"""Waiting for the tables: a run is complete in ClickHouse some time after it is complete on the log."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from economy.errors import SetupError
from infra.stack import Attached, Stack
from queries.store import Store
from schemas.clickhouse import STORED

PATIENCE: Final = 180.0  # seconds without any progress; how long all of it takes depends on the run
_LOOK_SECONDS: Final = 0.1  # between looks whether it is complete
_PROGRESS_SECONDS: Final = 2.0  # between looks at how far it has come


def wait_until_stored(stack: Stack | Attached, run: int) -> None:
    """Return when every record and figure of a finished run is in the tables; at once where there are no tables.

    Raises SetupError when nothing more of it has come for PATIENCE seconds, or when a component was given up.
    """
    if stack.tables is None:
        return
    with Store(stack.tables) as store:
        progress: tuple[str, int] | None = None
        moved = looked = 0.0
        while True:
            row = _row(store, run)
            state = row.get("state", "")
            if state == STORED:
                return
            stack.check()
            now = time.monotonic()
            if now - looked >= _PROGRESS_SECONDS:
                found, looked = (state, _position(store, stack.namespace, row, run)), now
                if found != progress:
                    progress, moved = found, now
            if now - moved > PATIENCE:
                raise SetupError(
                    f"run {run} is not complete in ClickHouse, and nothing of it has come for {PATIENCE:.0f} s",
                    f"see sink*.jsonl and projection*.jsonl in {stack.logs}",
                )
            time.sleep(_LOOK_SECONDS)


def _row(store: Store, run: int) -> dict[str, Any]:
    found = store.rows("SELECT state, end_offsets FROM runs FINAL WHERE run = {run:Int64}", {"run": run})
    return found[0] if found else {}


def _position(store: Store, namespace: str, row: dict[str, Any], run: int) -> int:
    """How far a run has come into the tables: records up to its end, and figures and balances, which follow them.

    Until its end is stored all records of the namespace count, as those before it have to be stored first; behind it
    those of other runs do not, which may come for ever.
    """
    ends: dict[str, list[int]] = json.loads(row.get("end_offsets", "{}"))
    sql = "SELECT family, kafka_partition, first, next, stored FROM sink_offsets FINAL WHERE namespace = {n:String}"
    records = 0
    for part in store.rows(sql, {"n": namespace}):
        position, own = part["next"] if part["stored"] else part["first"], ends.get(part["family"], [])
        end = own[part["kafka_partition"]] if part["kafka_partition"] < len(own) else 0
        records += min(position, end) if ends else position
    sql = """SELECT (SELECT count() FROM stream_indicators WHERE run = {run:Int64})
        + (SELECT count() FROM balance_recorded WHERE run = {run:Int64}) AS figures"""
    return records + int(store.rows(sql, {"run": run})[0]["figures"])

"""Waiting for the tables: a run is complete in ClickHouse some time after it is complete on the log."""

from __future__ import annotations

import time

from economy.errors import SetupError
from infra.stack import Attached, Stack
from queries.store import Store
from schemas.clickhouse import STORED


def wait_until_stored(stack: Stack | Attached, run: int, timeout: float = 180.0) -> None:
    """Return when every record and figure of a finished run is in the tables; at once where there are no tables.

    Raises SetupError when the sink or the projection does not get there in time, or was given up.
    """
    if stack.tables is None:
        return
    limit = time.monotonic() + timeout
    with Store(stack.tables) as store:
        while True:
            found = store.rows("SELECT state FROM runs FINAL WHERE run = {run:Int64}", {"run": run})
            if found and found[0]["state"] == STORED:
                return
            stack.check()
            if time.monotonic() > limit:
                logs = f"sink*.jsonl and projection.jsonl in {stack.logs}"
                raise SetupError(f"run {run} is not complete in ClickHouse", f"see {logs}")
            time.sleep(0.1)

"""Waiting for the tables: a run is complete in ClickHouse some time after it is complete on the log."""

from __future__ import annotations

import time
from typing import Any, Final

from economy.errors import SetupError
from economy.scenario import scenario_from_json
from infra.stack import Attached, Stack
from queries.store import Store

COMPLETE: Final = ("stored", "published")


def wait_until_stored(stack: Stack | Attached, run: int, timeout: float = 180.0) -> None:
    """Return when every record of a finished run and its last window are in the tables; at once where there are none.

    Raises SetupError when the sink or the projection does not get there in time, or was given up.
    """
    if stack.tables is None:
        return
    limit = time.monotonic() + timeout
    with Store(stack.tables) as store:
        while True:
            found = store.rows("SELECT state, config, ticks FROM runs FINAL WHERE run = {run:Int64}", {"run": run})
            if found and found[0]["state"] in COMPLETE and _measured(store, run, found[0]):
                return
            stack.check()
            if time.monotonic() > limit:
                logs = f"{stack.logs / 'sink.log'} and projection.log"
                raise SetupError(f"run {run} is not complete in ClickHouse", f"see {logs}")
            time.sleep(0.1)


def _measured(store: Store, run: int, row: dict[str, Any]) -> bool:
    """True when the last window's indicators are there; a tape has none."""
    if row["config"] == "{}":
        return True
    last = row["ticks"] // scenario_from_json(row["config"]).time.window_ticks - 1
    found = store.rows(
        "SELECT max(window) AS newest FROM stream_indicators WHERE run = {run:Int64}",
        {"run": run},
    )
    return int(found[0]["newest"]) >= last

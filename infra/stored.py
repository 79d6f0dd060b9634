"""Waiting for the tables: a run is complete in ClickHouse some time after it is complete on the log."""

from __future__ import annotations

import time
from typing import Final

from economy.errors import SetupError
from infra.stack import Attached, Stack
from queries.store import Store

COMPLETE: Final = ("stored", "published")


def wait_until_stored(stack: Stack | Attached, run: int, timeout: float = 120.0) -> None:
    """Return when every record of a finished run is in the tables; at once where there are none.

    Raises SetupError when the sink does not get there in time.
    """
    if stack.tables is None:
        return
    limit = time.monotonic() + timeout
    with Store(stack.tables) as store:
        while True:
            found = store.rows("SELECT state FROM runs FINAL WHERE run = {run:Int64}", {"run": run})
            if found and found[0]["state"] in COMPLETE:
                return
            if time.monotonic() > limit:
                raise SetupError(f"run {run} is not complete in ClickHouse", f"see {stack.logs / 'sink.log'}")
            time.sleep(0.1)

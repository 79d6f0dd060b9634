"""What others than a run's own clock write about it: that it pauses, goes on, ends before its time, or was deleted."""

from __future__ import annotations

from typing import Final

import numpy as np

from economy.errors import ProtocolError
from runs.protocol import close_run
from schemas.log.clocklog import DELETED, read_clock
from schemas.log.writer import LogWriter

INTERRUPTED: Final = "interrupted by Ctrl-C"


def abort_run(bootstrap: str, namespace: str, run: int, reason: str) -> None:
    """Write RunAborted on the clock topic and RunClosed everywhere; does nothing to a run that has ended."""
    state = read_clock(bootstrap, namespace, run)
    if state.ended:
        return
    writer = LogWriter(bootstrap, namespace)
    record = {"run": run, "incarnation": state.incarnation, "epoch": state.granted, "reason": reason}
    writer.send_record("RunAborted", record, 0)
    writer.flush()
    if state.started is not None:
        close_run(writer, run, state.started["partitions"], state.started["flow_partitions"])


def mark_deleted(bootstrap: str, namespace: str, run: int) -> None:
    """Write that a run was deleted: it is listed no more. Its clock has ended, so nobody else writes for it."""
    state = read_clock(bootstrap, namespace, run)
    writer = LogWriter(bootstrap, namespace)
    record = {"run": run, "incarnation": state.incarnation, "epoch": state.granted, "reason": DELETED}
    writer.send_record("RunAborted", record, 0)
    writer.flush()


def control(bootstrap: str, namespace: str, run: int, pause: bool) -> None:
    """Write RunPaused or RunResumed, which the clock obeys. Raises ProtocolError when the run is not going on."""
    state = read_clock(bootstrap, namespace, run)
    if state.started is None or state.ended:
        raise ProtocolError(f"run {run} is not going on", "`escape runs list` shows the runs")
    writer = LogWriter(bootstrap, namespace)
    name = "RunPaused" if pause else "RunResumed"
    writer.send_rows(name, np.array([[run, state.incarnation]], np.int64), 0)
    writer.flush()

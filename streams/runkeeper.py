"""The rows of runs in ClickHouse. One sink keeps them, the one that stores the clock's topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.catalogue import BALANCES
from schemas.clickhouse import STORED
from schemas.log.reader import Chunk, Place, end_offsets
from schemas.windows import own_windows
from streams.runrows import Row, apply, reached
from streams.tables import Tables

_PAUSES: Final = ("RunPaused", "RunResumed")
_BALANCES: Final = (BALANCES, 0)


class RunKeeper:
    """Brings the rows up to the clock's records, and marks a run as stored when the tables hold all of it."""

    def __init__(self, bootstrap: str, namespace: str, tables: Tables) -> None:
        self._bootstrap, self._namespace, self._tables = bootstrap, namespace, tables
        self._waiting = {row["run"]: row for row in tables.finished_runs(namespace)}
        self._balances: dict[int, int] = {}  # of runs whose last figure is there: offset behind their balances

    def take(self, chunks: Sequence[Chunk]) -> None:
        """Bring the rows up to chunks of the clock's topic, record by record in their order."""
        records: list[tuple[int, str, dict[str, Any]]] = []
        for chunk in chunks:
            records += [(int(chunk.offsets[at]), name, record) for at, name, record in chunk.cold]
            for name in _PAUSES:
                for at, row in zip(chunk.index.get(name, ()), chunk.rows.get(name, ()), strict=True):
                    records.append((int(chunk.offsets[at]), name, {"run": int(row[0])}))
        before = {record["run"]: self._tables.run(self._namespace, record["run"]) for _, _, record in records}
        after = dict(before)
        for _, name, record in sorted(records, key=lambda found: found[0]):
            after[record["run"]] = apply(after[record["run"]], name, record)
        for run, row in after.items():
            if row != before[run]:
                self._tables.put_run(row)
            if row["state"] == "finished":
                self._waiting[run] = row

    def forget(self, run: int) -> None:
        """A run has been deleted."""
        self._waiting.pop(run, None)
        self._balances.pop(run, None)

    def complete(self) -> None:
        """Mark finished runs of which everything is in the tables by now, whichever sinks have stored it."""
        if not self._waiting:
            return
        position = self._tables.positions(self._namespace)
        for run, row in list(self._waiting.items()):
            if reached(position, row) and self._figures_reached(position, row):
                self.forget(run)
                newest = self._tables.run(self._namespace, run)
                if newest["state"] == "finished":
                    self._tables.put_run({**newest, "state": STORED})
                self._tables.merge(run)

    def _figures_reached(self, position: Mapping[Place, int], row: Row) -> bool:
        """True when what the projection made of the run is there as well.

        The projection writes behind the run, so RunFinished cannot tell how far. When the figure that it sends last is
        there, the balances are all on the log, below its present end.
        """
        run, windows = row["run"], own_windows(row)
        if not windows:
            return True
        if run not in self._balances and self._tables.measured(run, windows[-1]):
            self._balances[run] = end_offsets(self._bootstrap, self._namespace, [_BALANCES])[_BALANCES]
        return run in self._balances and position.get(_BALANCES, 0) >= self._balances[run]

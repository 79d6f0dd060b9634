"""Several projections of one namespace publish of each run the bytes that one does: also killed, in whatever number."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.village import VillageModel
from economy.measures import LAST_MEASURED
from economy.records import events as e
from economy.records.events import Events
from infra.broker import Broker
from runs.local import run_local
from runs.protocol import RunSpec, by_family, open_run, places
from schemas.catalogue import BALANCES, INDICATORS
from schemas.log.reader import end_offsets, read_all
from schemas.log.topics import create
from schemas.log.writer import LogWriter
from tests import toy_model
from tests.integration.test_projection import (
    FLOW_PARTITIONS,
    PARTITIONS,
    SCENARIO,
    SEED,
    SHARDS,
    send_epoch,
    start_worker,
)
from tests.processes import put_away, stopped, until

pytestmark = pytest.mark.integration
RUNS = range(300, 304)  # of two projections and of three each has some
TOY = 304  # without a village
FORK, PARENT, CUT = 307, 300, 14  # neither of two nor of three projections has both
LAST = 39


class Log:
    """A namespace with the runs, each as far as it has been sent, and with what has been published of them."""

    def __init__(self, broker: Broker, namespace: str, epochs: Sequence[Events]) -> None:
        self.broker, self.bootstrap, self.namespace, self.epochs = broker, broker.bootstrap, namespace, epochs
        create(self.bootstrap, namespace, PARTITIONS, FLOW_PARTITIONS)
        self.writer = LogWriter(self.bootstrap, namespace)
        village, toy = VillageModel(SCENARIO, SEED), toy_model.ToyModel({"agents": 4, "epochs": 2}, 1)
        for run in RUNS:
            started = self._open(run, village)
        self._open(TOY, toy)
        self._send(RUNS, 0, CUT)
        ends = by_family(end_offsets(self.bootstrap, namespace, places(PARTITIONS, FLOW_PARTITIONS)))
        told = {"run": FORK, "parent": PARENT, "parent_epoch": CUT, "parent_offsets": ends, "start_offsets": ends}
        self.writer.send_record("RunStarted", started | told, 0)
        self.writer.flush()

    def _open(self, run: int, model: VillageModel | toy_model.ToyModel) -> dict[str, object]:
        spec = RunSpec(run, "", model.scenario_json(), SEED, SHARDS, PARTITIONS, FLOW_PARTITIONS)
        return open_run(self.bootstrap, self.namespace, self.writer, spec, model)

    def _send(self, runs: Sequence[int], first: int, last: int) -> None:
        for epoch in range(first, last + 1):
            for run in runs:
                send_epoch(self.writer, run, epoch, self.epochs[epoch], LAST)

    def send(self, first: int, last: int) -> None:
        """Epochs behind the cut, of the fork as well."""
        self._send([*RUNS, FORK], first, last)

    def figures(self) -> dict[int, list[bytes]]:
        """WindowMeasured by run, in the order of the log."""
        found: dict[int, list[bytes]] = {}
        for chunk in read_all(self.bootstrap, self.namespace, [(INDICATORS, 0)]):
            for position, _, record in chunk.cold:
                found.setdefault(record["run"], []).append(chunk.values[position])
        return found

    def balances(self) -> dict[int, list[bytes]]:
        """BalanceRecorded by run, in the order of the log."""
        found: dict[int, list[bytes]] = {}
        for chunk in read_all(self.bootstrap, self.namespace, [(BALANCES, 0)]):
            rows, at = chunk.rows[e.BalanceRecorded.name], chunk.index[e.BalanceRecorded.name]
            for run, position in zip(rows[:, 0].tolist(), at.tolist(), strict=True):
                found.setdefault(run, []).append(chunk.values[position])
        return found

    def windows(self) -> dict[int, int]:
        """Newest whole window by run."""
        return {
            record["run"]: record["window"]
            for chunk in read_all(self.bootstrap, self.namespace, [(INDICATORS, 0)])
            for _, _, record in chunk.cold
            if record["indicator"] == LAST_MEASURED
        }

    def reaches(self, window: int, runs: Sequence[int] = (*RUNS, FORK)) -> None:
        """Wait until a window of all these runs is whole."""

        def there() -> bool:
            found = self.windows()
            return all(found.get(run, -1) >= window for run in runs)

        until(there)


@contextmanager
def projections(log: Log, folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many, which are well to the end; whoever kills one puts another in its place."""
    children = [start_worker(log.broker, log.namespace, folder, f"{i}/{count}") for i in range(count)]
    try:
        yield children
        assert [stopped(each) for each in children] == [0] * count
    finally:
        for each in children:
            put_away(each)


@pytest.fixture(scope="module")
def epochs() -> list[Events]:
    found: list[Events] = []

    def keep(epoch: int, events: Events) -> None:
        if epoch >= 0:
            found.append(events)

    run_local(VillageModel(SCENARIO, SEED), 1, on_epoch=keep)
    assert len(found) == LAST + 1
    return found


def test_one_three_one_of_them_killed_then_two_publish_what_one_does(
    broker: Broker, namespace: str, epochs: list[Events], tmp_path: Path
) -> None:
    alone = Log(broker, f"{namespace}-alone", epochs)
    alone.send(CUT + 1, LAST)
    with projections(alone, tmp_path, 1):
        alone.reaches(3)

    log = Log(broker, namespace, epochs)
    with projections(log, tmp_path, 1):
        log.reaches(0, RUNS)
    with projections(log, tmp_path, 3) as three:
        log.send(CUT + 1, 24)
        log.reaches(1)
        put_away(three[1])
        log.send(25, 34)
        log.reaches(2, [300, 302, 303])  # without the third
        assert [log.windows()[run] for run in (301, FORK)] == [1, 1]
        three[1] = start_worker(broker, namespace, tmp_path, "1/3")
        log.reaches(2)
    log.send(35, LAST)
    with projections(log, tmp_path, 2):
        log.reaches(3)

    assert log.figures() == alone.figures()
    assert log.balances() == alone.balances()
    assert sorted(log.balances()) == [*RUNS, FORK]

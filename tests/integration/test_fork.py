"""Forks on the stream: one digest where nothing changes, the effect of the change where something does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fastavro
import numpy as np
import pytest

from agents.registry import VILLAGE
from agents.village import VillageModel
from economy.errors import InputError
from economy.scenario import load_scenario
from infra.broker import Broker
from infra.removal import delete_run
from runs.control import control
from runs.export import export_run
from runs.forking import changes_of, prepare_fork
from runs.kafka import StreamRun
from runs.local import RunResult, run_local
from runs.log import epochs_of, find_run
from runs.protocol import RunSpec
from runs.replay import Status, replay
from runs.verify import verify_run
from schemas.catalogue import DECISIONS
from schemas.log.history import read_history
from tests.integration.lab import TOY, TRUSTED, Lab
from tests.toy_model import make

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]
SCENARIO, SEED, LAST = json.dumps({"agents": 30, "epochs": 40}), 5, 39


@pytest.fixture(scope="module")
def lab(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(broker, "forked", 2, 2, tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


def start(lab: Lab, spec: RunSpec, pace: int = 0) -> StreamRun:
    where = lab.broker.bootstrap, lab.namespace
    return StreamRun(*where, spec, lab.folder, lab.host, snapshot_every=10, pace=pace, models=TRUSTED)


def fork(lab: Lab, run: int, tick: int, *changes: tuple[str, str]) -> RunResult:
    where = lab.broker.bootstrap, lab.namespace
    spec = prepare_fork(*where, run, tick, changes_of(changes), lab.folder, every=10, models=TRUSTED)
    return start(lab, spec).wait()


@pytest.fixture(scope="module")
def parent(lab: Lab) -> RunResult:
    return lab.start(2, make(SCENARIO, SEED), TOY).wait()


def test_a_fork_without_a_change_gives_the_same_digest(lab: Lab, parent: RunResult) -> None:
    same = fork(lab, parent.run, 340)
    assert same.digest == parent.digest
    assert same.ticks == parent.ticks
    found = replay(lab.broker.bootstrap, lab.namespace, same.run, models=TRUSTED)
    assert (found.integrity.status, found.integrity.through) == (Status.IDENTICAL, LAST)
    assert (found.execution.status, found.execution.through) == (Status.IDENTICAL, LAST)
    assert found.verdict.digest == parent.digest
    # By reference: the log holds the fork's own epochs alone, the history all of them.
    info = find_run(lab.broker.bootstrap, lab.namespace, same.run)
    epochs = list(epochs_of(lab.broker.bootstrap, lab.namespace, info))
    assert [epoch for epoch, _ in epochs] == list(range(-1, LAST + 1))
    runs = {epoch: int(families[DECISIONS]["AgentDecided"][0, 0]) for epoch, families in epochs[1:]}
    assert set(runs.values()) == {parent.run, same.run}
    assert all((run == parent.run) == (epoch < 17) for epoch, run in runs.items())


def test_an_exported_fork_comes_with_its_ancestors(lab: Lab, parent: RunResult, tmp_path: Path) -> None:
    run = fork(lab, parent.run, 340).run
    info = find_run(lab.broker.bootstrap, lab.namespace, run)
    counts = export_run(lab.broker.bootstrap, lab.namespace, info, tmp_path)
    with open(tmp_path / f"{DECISIONS}.avro", "rb") as file:
        records = [record for record in fastavro.reader(file) if "choice" in record]
    epochs = epochs_of(lab.broker.bootstrap, lab.namespace, info, (DECISIONS,))
    known = [row for _, families in epochs for row in families[DECISIONS]["AgentDecided"][:, :4].tolist()]
    assert len(records) == len(known) < counts[DECISIONS]  # the shards' markers stand beside them
    assert sorted([r["run"], r["tick"], r["agent"], r["n"]] for r in records) == sorted(known)
    assert {r["run"] for r in records} == {parent.run, run}
    parts = json.loads((tmp_path / "run.json").read_text())["history"]
    assert [(part["run"], part["last_epoch"]) for part in parts] == [(parent.run, 16), (run, LAST)]


def test_a_change_shows_from_its_tick_on_and_forks_can_be_forked(lab: Lab, parent: RunResult) -> None:
    changed = fork(lab, parent.run, 200, ("gift", "5000"))
    model = make(SCENARIO, SEED)
    assert changed.digest == run_local(model, interventions={10: [("gift", "5000")]}).digest != parent.digest
    again = fork(lab, changed.run, 400, ("gift", "70"))
    both = {10: [("gift", "5000")], 20: [("gift", "70")]}
    assert again.digest == run_local(model, interventions=both).digest
    # Before its own cut a fork is its parent: the new one leaves the grandparent.
    early = prepare_fork(lab.broker.bootstrap, lab.namespace, again.run, 100, [], lab.folder, models=TRUSTED)
    assert (early.parent, early.parent_epoch) == (parent.run, 4)
    segments = read_history(lab.broker.bootstrap, lab.namespace, again.run)
    assert [(s.run, s.first, s.last) for s in segments] == [
        (parent.run, -1, 9), (changed.run, 10, 19), (again.run, 20, LAST),
    ]  # fmt: skip
    for run in (changed.run, again.run):
        assert verify_run(lab.broker.bootstrap, lab.namespace, run).sound
        assert replay(lab.broker.bootstrap, lab.namespace, run, models=TRUSTED).execution.through == LAST
    early_on = replay(lab.broker.bootstrap, lab.namespace, again.run, until_tick=300, models=TRUSTED)
    assert early_on.execution.through == 14
    with pytest.raises(InputError, match=f"delete them first: {again.run}"):
        delete_run(lab.broker.bootstrap, lab.namespace, changed.run, None)


def test_a_fork_from_the_opening_and_one_that_is_killed(lab: Lab, parent: RunResult) -> None:
    spec = prepare_fork(lab.broker.bootstrap, lab.namespace, parent.run, 0, [], lab.folder, models=TRUSTED)
    run = start(lab, spec, pace=1)
    lab.wait_epoch(run, 8)
    lab.kill_shard(run, 0)
    lab.worker.kill()
    assert run.clock.poll() is None
    run.clock.kill()
    lab.hurry(run)
    assert run.wait().digest == parent.digest


def test_what_cannot_be_forked_is_refused(lab: Lab, parent: RunResult) -> None:
    def refused(tick: int, *changes: tuple[str, str], run: int = parent.run) -> str:
        where = lab.broker.bootstrap, lab.namespace
        with pytest.raises(InputError) as error:
            prepare_fork(*where, run, tick, changes_of(changes), lab.folder, models=TRUSTED)
        return str(error.value)

    assert "give 200 or 220" in refused(210)
    assert "the menu is gift" in refused(200, ("tax", "1"))
    assert "once" in refused(200, ("gift", "1"), ("gift", "2"))
    assert "nothing is left" in refused(800)
    assert "known runs" in refused(0, run=1) or "runs list" in refused(0, run=1)


@pytest.fixture(scope="module")
def model() -> VillageModel:
    return VillageModel(
        load_scenario("village", {"years": "1", "calendar.rounds": "4", "population.households": "120"}), 3
    )


@pytest.fixture(scope="module")
def village(lab: Lab, model: VillageModel) -> RunResult:
    return lab.start(2, model, VILLAGE).wait()


def test_agents_can_be_pinned_to_the_log_of_the_parent(lab: Lab, model: VillageModel, village: RunResult) -> None:
    everybody = ("pin.households,market_makers", "1")
    assert fork(lab, village.run, 1000, everybody).digest == village.digest
    # Pinned by the log, computed again by the parent's own rules; killed on the way; inherited by a fork of the fork.
    first = [("pin.60-120", "1"), ("band.shares", "0.01"), ("blank.prices.10,12,140-150", "1")]
    spec = prepare_fork(lab.broker.bootstrap, lab.namespace, village.run, 800, changes_of(first), lab.folder, every=10)
    run = start(lab, spec, pace=1)
    lab.wait_epoch(run, 48)
    lab.kill_shard(run, 1)
    lab.worker.kill()
    lab.hurry(run)
    held = run.wait()
    assert held.digest == run_local(model, interventions={40: first}).digest != village.digest
    second = [("pin.60-80", "0"), ("strategy.market_makers", '"inventory"'), ("pin.3", "1")]
    again = fork(lab, held.run, 1200, *second)
    assert again.digest == run_local(model, interventions={40: first, 60: second}).digest != held.digest
    for result in (held, again):
        found = replay(lab.broker.bootstrap, lab.namespace, result.run)
        assert [answer.through for answer in found.answers.values()] == [79] * 3
        assert found.proven, found


def test_nobody_is_pinned_to_a_run_that_has_not_ended(lab: Lab, model: VillageModel, village: RunResult) -> None:
    going_on = lab.start(2, model, VILLAGE, pace=1)
    try:
        lab.wait_epoch(going_on, 5)  # tick 100
        control(lab.broker.bootstrap, lab.namespace, going_on.spec.run, True)
        with pytest.raises(InputError, match="wait for it"):
            prepare_fork(lab.broker.bootstrap, lab.namespace, going_on.spec.run, 100, [("pin.3", "1")], lab.folder)
    finally:
        going_on.abort("test")


def test_a_fork_of_the_village_leaves_the_luck_of_others_alone(
    lab: Lab, model: VillageModel, village: RunResult
) -> None:
    parent = village
    taxed = fork(lab, parent.run, 800, ("income_tax", "0.6"))
    local = run_local(model, interventions={40: [("income_tax", "0.6")]})
    assert taxed.digest == local.digest != parent.digest
    found = replay(lab.broker.bootstrap, lab.namespace, taxed.run)
    assert found.proven, found
    assert [answer.through for answer in found.answers.values()] == [79] * 3
    # In the first epoch everybody acts at the tick drawn for him, whatever has changed.
    infos = [find_run(lab.broker.bootstrap, lab.namespace, run) for run in (parent.run, taxed.run)]
    acted = []
    for info in infos:
        epoch = dict(epochs_of(lab.broker.bootstrap, lab.namespace, info, (DECISIONS,)))[40]
        acted.append(np.unique(epoch[DECISIONS]["AgentDecided"][:, [1, 2]], axis=0))
    common = set(map(tuple, acted[0].tolist())) & set(map(tuple, acted[1].tolist()))
    assert len(common) > 0.9 * len(acted[0])

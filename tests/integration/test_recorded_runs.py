"""Runs of every released version: integrity and state hold for ever; they are computed again where rules allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.broker import Broker
from runs.replay import Status, replay
from schemas.log.history import read_history
from tests.recorded_runs import RUNS, bring_in, other_rules, state_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("folder", sorted(path for path in RUNS.iterdir() if path.is_dir()), ids=lambda path: path.name)
def test_what_a_released_version_recorded_is_still_proved(
    broker: Broker, namespace: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.replay.unlike_here", other_rules)
    recorded = json.loads((folder / "state.json").read_text())
    for name, run in bring_in(broker.bootstrap, namespace, folder).items():
        found, told = state_of(broker.bootstrap, namespace, run), recorded[name]
        assert (found["root"], found["digest"]) == (told["root"], told["digest"])
        assert len(found["windows"]) == len(told["windows"]) == 4
        for window, then in zip(found["windows"], told["windows"], strict=True):
            assert window["balances"] == then["balances"]
            # A later version may have more figures; those of then stay.
            assert {key: window["figures"].get(key) for key in then["figures"]} == then["figures"]
        again = replay(broker.bootstrap, namespace, run)
        assert (again.integrity.status, again.state.status) == (Status.IDENTICAL, Status.IDENTICAL), again
        assert again.integrity.through == again.state.through == again.until
        why = other_rules(read_history(broker.bootstrap, namespace, run)[-1].started)
        assert again.execution.status == (Status.NOT_DONE if why else Status.IDENTICAL), again.execution

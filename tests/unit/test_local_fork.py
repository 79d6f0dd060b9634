"""Forks on the local carrier, of a run that the stream recorded: the digests that forks on the stream gave."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from economy.errors import InputError
from infra.cli import app
from runs.checked import CheckedRun
from runs.container import Container
from runs.localfork import fork_file
from tests.recorded_runs import RUNS, other_rules

FOLDER = RUNS / "0.1.0"
STATE = json.loads((FOLDER / "state.json").read_text())
VILLAGE = FOLDER / "village.avro"


def village() -> Container:
    return Container(VILLAGE)


def test_a_local_fork_has_the_digest_of_the_recorded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.localfork.unlike_here", other_rules)
    if other_rules(CheckedRun(village()).started):
        with pytest.raises(InputError, match="cannot be computed again"):
            fork_file(village(), 640, [])
        return
    same = fork_file(village(), 640, [])
    assert same.result.digest == STATE["village.avro"]["digest"]
    assert (same.parent, same.parent_epoch) == (village().manifest.run, 31)
    assert fork_file(village(), 640, [("income_tax", "0.5")]).result.digest == STATE["fork.avro"]["digest"]
    assert fork_file(village(), 0, [("pin.households", "1")]).result.digest == STATE["village.avro"]["digest"]
    with pytest.raises(InputError, match="give 640 or 660"):
        fork_file(village(), 650, [])
    with pytest.raises(InputError, match="nothing is left"):
        fork_file(village(), 800, [])
    with pytest.raises(InputError, match="once"):
        fork_file(village(), 640, [("income_tax", "0.5"), ("income_tax", "0.4")])


def test_what_a_local_fork_cannot_leave_is_refused() -> None:
    with pytest.raises(InputError, match="fork that run's file"):
        fork_file(Container(FOLDER / "fork.avro"), 640, [])
    result = CliRunner().invoke(app, ["fork", "7", "--carrier", "local", "--at-tick", "640"])
    assert result.exit_code == 2
    assert "keeps nothing" in result.stderr
    assert CliRunner().invoke(app, ["fork", str(VILLAGE), "--at-tick", "640"]).exit_code == 2

"""A record on the log that names code: no reader runs it, each says which model it was and which setting trusts one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from agents.actor import ShardActor
from agents.loop import ShardConfig, ShardLoop
from agents.registry import OWN_MODELS, VILLAGE, Models
from economy.errors import InputError
from infra.broker import Broker
from infra.cli import app
from runs.blocks import Logged
from runs.checkpoint import Checkpoints, execution_at, world_at
from runs.clock import Clock, ClockConfig
from runs.compare import compare_runs
from runs.container import Container, write_container
from runs.forking import prepare_fork
from runs.importing import import_file
from runs.kafka import StreamRun
from runs.localfork import fork_file
from runs.protocol import RunSpec
from runs.reexecution import difference, execution_of
from runs.replay import replay
from runs.show import provenance
from schemas.catalogue import ORDERS
from schemas.codec import decode_record, encode_record
from schemas.log.clocklog import read_clock
from schemas.log.history import read_history
from schemas.log.writer import LogWriter
from tests.integration.commands import until
from tests.integration.lab import TOY
from tests.integration.written import Written
from tests.recorded_runs import RUNS
from tests.toy_model import make

pytestmark = pytest.mark.integration
NAMESPACE, GOOD, EVIL, FORKED = "trusted", 7, 8, 9
CODE = "cProfile:run"  # runs the text that it is given as "scenario"
NO_RAY: Any = None  # a run of another model is refused before Ray is asked for anything
REFUSED = r"model = 'cProfile:run' is not valid.*setting models.*--trust"


@pytest.fixture(scope="module")
def owned(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A log with a sound run, one whose record names code, and a fork of that one. The code makes this file."""
    file = tmp_path_factory.mktemp("attack") / "owned"
    Written(broker.bootstrap, NAMESPACE, make(json.dumps({"agents": 8, "epochs": 4}), 1), TOY, run=GOOD)
    sound = read_clock(broker.bootstrap, NAMESPACE, GOOD)
    assert sound.started is not None
    assert sound.finished is not None
    writer = LogWriter(broker.bootstrap, NAMESPACE)
    evil = attack(sound.started, file) | {"run": EVIL}
    fork = sound.started | {"run": FORKED, "parent": EVIL, "parent_epoch": 1, "environment": named(evil, VILLAGE)}
    for started in (evil, fork | {"parent_offsets": sound.finished["end_offsets"]}):
        writer.send_record("RunStarted", started, 0)
        writer.send_record("RunFinished", sound.finished | {"run": started["run"]}, 0)
    writer.flush()
    yield file
    assert not file.exists()


@pytest.fixture(autouse=True)
def _unharmed(owned: Path) -> Iterator[None]:
    yield
    assert not owned.exists(), "the code of the record was run"


def named(started: dict[str, Any], model: str) -> dict[str, str]:
    return {**started["environment"], "model": model}


def attack(started: dict[str, Any], file: Path) -> dict[str, Any]:
    return started | {"environment": named(started, CODE), "scenario": f"open({str(file)!r}, 'w')"}


def spec_of(bootstrap: str, run: int, file: Path) -> RunSpec:
    return RunSpec(run, CODE, f"open({str(file)!r}, 'w')", 1, 1, 2, 2)


def segments_of(bootstrap: str) -> Any:
    return read_history(bootstrap, NAMESPACE, EVIL)


Call = Callable[[str, Path, Path], Any]  # (broker, a folder, the file that the code would make)
CALLS: dict[str, Call] = {
    "shard": lambda b, *_: ShardLoop(ShardConfig(b, NAMESPACE, EVIL, 0)).run(),
    "clock": lambda b, _, file: Clock(ClockConfig(b, NAMESPACE), spec_of(b, 20, file)).run(),
    "stream": lambda b, folder, file: StreamRun(b, NAMESPACE, spec_of(b, 21, file), folder, NO_RAY),
    "replay": lambda b, *_: replay(b, NAMESPACE, EVIL),
    "replay of a fork": lambda b, *_: replay(b, NAMESPACE, FORKED),
    "fork": lambda b, folder, _: prepare_fork(b, NAMESPACE, EVIL, 40, [], folder),
    "fork of a fork": lambda b, folder, _: prepare_fork(b, NAMESPACE, FORKED, 20, [], folder),
    "compare": lambda b, *_: compare_runs(b, NAMESPACE, EVIL, EVIL),
    "compare with": lambda b, *_: compare_runs(b, NAMESPACE, GOOD, EVIL, models=Models((TOY,))),
    "execution": lambda b, *_: execution_of(segments_of(b)[-1].started, {}, OWN_MODELS),
    "difference": lambda b, *_: difference(b, NAMESPACE, segments_of(b), [(0, ORDERS, 0, 0)], OWN_MODELS),
    "checkpoint": lambda b, folder, _: execution_at(segments_of(b), 1, Checkpoints(folder, "")),
    "world": lambda b, folder, _: world_at(b, NAMESPACE, segments_of(b), 1, Checkpoints(folder, "")),
}


@pytest.mark.parametrize("caller", CALLS)
def test_a_record_that_names_code_is_refused(broker: Broker, owned: Path, tmp_path: Path, caller: str) -> None:
    with pytest.raises(InputError, match=REFUSED):
        CALLS[caller](broker.bootstrap, tmp_path, owned)


COMMANDS = {
    "replay": ["replay", str(EVIL)],
    "show": ["show", str(EVIL)],
    "fork": ["fork", str(EVIL), "--at-tick", "40"],
    "compare": ["compare", str(EVIL), str(EVIL)],
    "resume": ["resume", str(EVIL + 100)],
}


@pytest.fixture
def stack(broker: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands find this broker instead of a stack of their own."""

    @contextmanager
    def using(*_: Any, **__: Any) -> Iterator[Any]:
        yield SimpleNamespace(bootstrap=broker.bootstrap, namespace=NAMESPACE, logs=tmp_path, folder=tmp_path)

    for module in ("proof", "fork", "study", "runs", "data"):
        monkeypatch.setattr(f"infra.cli.{module}.using_stack", using)
    monkeypatch.setenv("ESCAPE_STATE", str(tmp_path))


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_refuse_it(broker: Broker, owned: Path, name: str) -> None:
    if name == "resume":  # an open one
        sound = read_clock(broker.bootstrap, NAMESPACE, GOOD).started
        assert sound is not None
        writer = LogWriter(broker.bootstrap, NAMESPACE)
        writer.send_record("RunStarted", attack(sound, owned) | {"run": EVIL + 100}, 0)
        writer.flush()
    found = CliRunner().invoke(app, COMMANDS[name])
    assert (found.exit_code, "model = 'cProfile:run' is not valid" in found.stderr) == (2, True), found.stderr
    assert "setting models" in found.stderr


@pytest.mark.usefixtures("stack")
def test_a_trusted_model_is_made_by_the_setting_and_by_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["replay", str(GOOD), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 2
    assert json.loads(CliRunner().invoke(app, [*command, "--trust", TOY]).stdout)["proven"]
    monkeypatch.setenv("ESCAPE_MODELS", f"another.model:make, {TOY}")
    told = json.loads(CliRunner().invoke(app, command).stdout)
    assert (told["proven"], told["re-execution"]["status"]) == (True, "identical")
    monkeypatch.setenv("ESCAPE_MODELS", "os.system")
    assert "models = 'os.system' is not valid" in CliRunner().invoke(app, command).stderr


def test_a_shard_aborts_the_run_that_it_can_never_run(broker: Broker, owned: Path, tmp_path: Path) -> None:
    sound = read_clock(broker.bootstrap, NAMESPACE, GOOD).started
    assert sound is not None
    writer = LogWriter(broker.bootstrap, NAMESPACE)
    writer.send_record("RunStarted", attack(sound, owned) | {"run": 30}, 0)
    writer.flush()
    actor = ShardActor(asdict(ShardConfig(broker.bootstrap, NAMESPACE, 30, 0)), str(tmp_path / "shard.log"))
    until(lambda: read_clock(broker.bootstrap, NAMESPACE, 30).aborted is not None)
    assert CODE in (read_clock(broker.bootstrap, NAMESPACE, 30).aborted or "")
    until(lambda: "was aborted" in actor.status()["doing"])


def test_the_process_that_computes_again_refuses_it(broker: Broker, owned: Path) -> None:
    started = segments_of(broker.bootstrap)[-1].started
    keys = ("run", "environment", "scenario", "seed", "shards", "partitions", "flow_partitions")
    job = {key: started[key] for key in keys} | {"changed": {}, "until": 1, "trusted": []}
    command = [sys.executable, "-m", "runs.reexecution"]
    found = subprocess.run(command, input=json.dumps(job).encode(), capture_output=True, check=False)
    assert found.returncode == 1
    assert b"InputError: model = 'cProfile:run' is not valid" in found.stderr


def test_where_a_run_comes_from_is_told_without_running_it(broker: Broker) -> None:
    told = provenance(segments_of(broker.bootstrap))
    assert not told["computable_here"]
    assert "setting models" in told["why_not"]


def test_files_that_name_code_are_refused(broker: Broker, owned: Path, tmp_path: Path) -> None:
    source = Container(RUNS / "0.1.0" / "village.avro")

    def records() -> Iterator[Logged]:
        for record in source.records():
            if record.topic == "sim.clock.v1" and (told := decode_record(record.value))[0] == "RunStarted":
                record = record._replace(value=encode_record("RunStarted", attack(told[1], owned)))
            yield record

    path = tmp_path / "evil.avro"
    write_container(path, records(), lambda size, sound: replace(source.manifest, size=size, sha256=sound))
    with pytest.raises(InputError, match=REFUSED):
        fork_file(Container(path), 640, [])
    with pytest.raises(InputError, match=REFUSED):
        import_file(broker.bootstrap, NAMESPACE, 2, 2, Container(path))
    found = CliRunner().invoke(app, ["fork", str(path), "--carrier", "local", "--at-tick", "640"])
    assert (found.exit_code, "setting models" in found.stderr) == (2, True)


@pytest.mark.parametrize(
    "name", ["os:system", "agents.village:make.__globals__", "agents.village", ":make", "a:b:c", "a b:c"]
)
def test_only_whole_names_are_known(name: str) -> None:
    with pytest.raises(InputError, match="model = "):
        OWN_MODELS.make(name, "{}", 1)
    assert np.array_equal(OWN_MODELS.trusted, ())

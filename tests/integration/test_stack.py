"""The stack as `escape up` leaves it: safe by default, restarted part by part, gone without a trace."""

from __future__ import annotations

import json
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from economy.errors import SetupError
from infra.clickhouse import EmbeddedClickHouse
from infra.settings import load_settings
from infra.stack import Attached
from tests.integration.commands import alive, answer, escape, listening, refused
from tests.loglines import check_lines
from tests.processes import kill, until

pytestmark = pytest.mark.integration


def _pids(described: dict[str, Any]) -> dict[str, int]:
    return {"broker": described["broker"]["pid"]} | {n: p["pid"] for n, p in described["processes"].items()}


def test_a_stack_from_up_to_down(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    described = answer("up", "--json", state=state, sinks="2", projections="2")
    tree = [psutil.Process(described["pid"]), *psutil.Process(described["pid"]).children(recursive=True)]
    try:
        assert answer("up", "--json", state=state)["pid"] == described["pid"]  # a second `up` starts nothing
        divided = {"projection-0", "projection-1", "sink-0", "sink-1"}
        assert set(described["processes"]) >= {"matching", "clickhouse"} | divided
        assert listening(tree) == {"127.0.0.1"}
        _keeps_secrets(Path(state), tree)
        _restarts(state, described)
        _refuses_a_stack_of_another_version(state)
        other = escape("runs", "list", state=state, namespace="other")
        refused(other, 3, "namespace escape", "down")
    finally:
        assert answer("down", "--json", state=state) == {"stopped": True}
    assert not [p for p in tree if alive(p.pid)]
    services = {line["service"] for line in check_lines(Path(state) / "logs")}
    assert services >= {"stack", "matching", "projection", "clickhouse"}  # all of which were killed once
    assert escape("status", state=state)[0] == 1
    assert answer("down", "--json", state=state) == {"stopped": False}


def _keeps_secrets(state: Path, tree: list[psutil.Process]) -> None:
    """Passwords stand in a file that only the user reads, and neither in logs, descriptions nor arguments."""
    passwords = state / "clickhouse" / "passwords.json"
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    server = EmbeddedClickHouse(state / "clickhouse")
    for user in ("escape", "reader"):
        secret = server.password(user)
        assert len(secret) >= 20
        for file in [state / "stack.json", state / "processes.json", *(state / "logs").glob("*.*")]:
            assert secret not in file.read_text()
        for process in tree:
            assert secret not in " ".join(process.cmdline())


def _restarts(state: str, described: dict[str, Any]) -> None:
    before = _pids(described)
    for pid in before.values():
        kill(pid)

    def again() -> bool:
        code, _, _ = escape("status", state=state)
        now = _pids(answer("status", "--json", state=state)) if code == 0 else before
        return all(now[name] != pid and alive(now[name]) for name, pid in before.items())

    until(again)
    until(lambda: escape("query", "{ __typename }", state=state)[0] == 0)
    assert answer("runs", "list", "--json", state=state) == []


def _refuses_a_stack_of_another_version(state: str) -> None:
    """A description without what this version relies on is told, not stumbled over; the stack writes it anew."""
    file = Path(state) / "stack.json"
    settings = load_settings(state=Path(state))
    older = json.loads(file.read_text())
    del older["format"]
    for child in older["processes"].values():
        del child["failed"]
    with pytest.raises(SetupError, match="another version: `escape down`, then `escape up`"):
        Attached(settings, older)


def test_what_a_killed_stack_left_is_ended_by_the_next_start(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    described = answer("up", "--json", state=state)
    tree = psutil.Process(described["pid"]).children(recursive=True)
    try:
        pids = _pids(described)
        kill(described["pid"])
        assert any(map(alive, pids.values()))
        assert answer("runs", "list", "--json", state=state) == []
        assert not any(map(alive, pids.values()))
    finally:
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()

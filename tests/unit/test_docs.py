"""What the docs say is there: exit codes, files, commands and their options."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import grimp
import pytest
import typer
from typer.testing import CliRunner

from economy import errors
from infra.cli import app
from infra.cli.bench import MEASUREMENTS

ROOT = Path(__file__).parents[2]


def test_exit_codes_are_documented_as_they_are() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)`", (ROOT / "docs" / "exit-codes.md").read_text(), re.MULTILINE)
    documented = {name: int(code) for code, name in rows}
    kinds: list[type[errors.EscapeError]] = [errors.EscapeError, *errors.EscapeError.__subclasses__()]
    own = {kind.__name__: kind.exit_code for kind in kinds if kind.__module__ == errors.__name__}
    assert documented == own


def test_rooms_of_the_economy_stand_on_what_the_architecture_says() -> None:
    graph = grimp.build_graph("economy", cache_dir=None)
    rooms = {path.parent.name for path in (ROOT / "economy").glob("*/__init__.py")}
    known = {room: {f"economy.{room}", *graph.find_descendants(f"economy.{room}")} for room in rooms}
    used = {
        room: {t for m in modules for t in graph.find_modules_directly_imported_by(m)}
        for room, modules in known.items()
    }
    found = {room: {name.split(".")[1] for name in used[room] - known[room]} for room in rooms}
    page = (ROOT / "docs" / "architecture.md").read_text()
    _, _, table = page.partition("### Rooms of the economy")
    rows = re.findall(r"^\| (\w+) \|[^|]+\|([^|]*)\|$", table.partition("\n#")[0], re.MULTILINE)
    told = {room: set(re.findall(r"\w+", below)) for room, below in rows}
    told.pop("room")
    assert told == found


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page: Path) -> None:
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in re.findall(r"(?:^|/|; )escape ([a-z].*)", block, re.MULTILINE):
            for command in re.split(r";.*?escape ", line.partition("  #")[0]):
                _check(command.split())


def _program(name: str) -> Any:
    """The command of a measurement's program, which alone declares what it can be told."""
    program = typer.Typer(add_completion=False)
    package = "bench.market.__main__" if name == "market" else f"bench.{name}"
    program.command()(importlib.import_module(package).main)
    return typer.main.get_command(program)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurements_are_told_all_that_was_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("infra.cli.bench.measured", lambda *given: told.extend(given))
    options = {option for each in _program(name).params for option in each.opts if option.startswith("--")}
    given = [*sorted(options), "--only=x", "--only", "y", "--help", "-x", "word"]
    result = CliRunner().invoke(app, ["bench", name, *given])
    assert result.exit_code == 0, result.output
    assert told == [name, *given]
    assert "--json" in options
    assert name in CliRunner().invoke(app, ["bench", "--help"]).output


def _check(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while groups := getattr(command, "commands", None):
        name = words.pop(0)
        assert name in groups, name
        command = _program(name) if command.name == "bench" else groups[name]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{command.name} {word}"

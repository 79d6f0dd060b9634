"""The commands of docs/deploy.md, run as they stand there: `docker compose` by engine.py, all others by bash."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cluster.composefile import read_project
from tests.cluster.engine import Engine, EngineError
from tests.cluster.images import ROOT
from tests.cluster.variables import ComposeError, parse_env_file

PAGE: Final = ROOT / "docs" / "deploy.md"


def commands(section: str) -> list[str]:
    """The lines of the first block below a heading, comments left out."""
    _, found, below = PAGE.read_text().partition(f"## {section}\n")
    block = re.search(r"^```\w*\n(.*?)^```", below, re.MULTILINE | re.DOTALL)
    if not found or block is None:
        raise LookupError(f"{PAGE.name} has no commands under {section!r}")
    stripped = (re.sub(r"\s{2,}#.*", "", line) for line in block[1].splitlines())
    return [line for line in stripped if line]


class Shell:
    """Runs documented commands in a folder that stands for the project's. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._engine: Engine | None = None

    def __exit__(self, *error: object) -> None:
        if self._engine is not None:
            self._engine.__exit__(*error)
            self._engine = None

    def __enter__(self) -> Shell:
        return self

    @property
    def engine(self) -> Engine:
        """What `docker compose up` has started."""
        if self._engine is None:
            raise EngineError("nothing is up")
        return self._engine

    def run(self, command: str, values: Mapping[str, str], seconds: float = 300.0) -> str:
        """Run a command, words in capitals replaced by their values; what it says on stdout."""
        for word, value in values.items():
            command = re.sub(rf"\b{word}\b", value, command)
        if not command.startswith("docker compose "):
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.folder, capture_output=True, text=True, timeout=seconds
            )
            if done.returncode:
                raise EngineError(f"`{command}` ends with {done.returncode}: {done.stderr}")
            return done.stdout
        words = shlex.split(command)[2:]
        match words:
            case ["up", "--build", "--wait"]:
                self._up(seconds)
                return ""
            case ["exec", service, *told]:
                return self.engine.execute(service, told, seconds)
            case ["down"]:
                self.__exit__()
                return ""
        raise ComposeError(f"{command}: not known here")

    def _up(self, seconds: float) -> None:
        variables = parse_env_file((self.folder / ".env").read_text())
        files = variables.get("COMPOSE_FILE", "docker-compose.yml").split(":")
        project = read_project([ROOT / name for name in files], variables)
        self._engine = Engine(project, self.folder / "containers", ROOT).__enter__()
        self._engine.up(seconds)

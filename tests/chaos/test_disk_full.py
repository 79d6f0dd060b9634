"""The disk of all state runs full in the middle of a run: it says so, loses nothing, and goes on when there is room."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agents.village import VillageModel
from bench.theatre import Theatre, until
from economy.scenario import load_scenario
from runs.local import run_local
from schemas.log.clocklog import read_clock
from tests.chaos.held import check_indicators, check_tables
from tests.integration.commands import alive, answer

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.soak, pytest.mark.timeout(900)]
SCENARIO = {"calendar.rounds": "2", "targets.debt_ratio": "3.0", "years": "3"}
FULL_SECONDS = 5.0  # of a full disk, for every component to meet it


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 500 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=500m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    """Take the last byte of a disk."""
    with open(file, "wb", 0) as filler, suppress(OSError):
        while filler.write(bytes(1 << 16)):
            pass


def test_a_full_disk_interrupts_a_run_that_goes_on_when_there_is_room(disk: Path, tmp_path: Path) -> None:
    expected = run_local(VillageModel(load_scenario("village", SCENARIO), 7)).digest
    with Theatre(tmp_path, SCENARIO, 7, disk / "state", reserve_mb="60") as theatre:
        run, stack = theatre.run, theatre.stack
        until(lambda: read_clock(stack.bootstrap, stack.namespace, run).granted > 5, theatre.trouble)
        fill(disk / "filler")
        assert theatre.exit_code() == 3
        told = " ".join(theatre.said("run", "err").split())
        assert f"the disk of {theatre.state} is full: " in told
        assert "MB are left, 60 are kept free: make room" in told
        assert f"then `escape resume {run}`" in told
        time.sleep(FULL_SECONDS)
        (disk / "filler").unlink()
        until(lambda: any(map(alive, theatre.pids("broker"))))
        theatre.hurry()
        assert answer("resume", str(run), "--json", **theatre.where)["digest"] == expected
        assert sum(check_tables(theatre.stack, run).values()) > 10_000
        assert check_indicators(theatre.stack, run) > 0

"""What a command does whose standard output takes no more, or which has none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.commands import ESCAPE
from tests.processes import PATIENCE


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_behind_standard_output_is_one_error(options: tuple[str, ...]) -> None:
    program = "from infra.cli import main; main()"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, "schemas", "list", *options],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.stderr == "escape: the output cannot be written: No space left on device: make room\n"
    assert done.returncode == 3


@pytest.mark.parametrize(("closed", "told"), [("<&-", True), ("1>&-", False), ("2>&-", True), ("<&- 1>&- 2>&-", False)])
def test_a_command_without_a_standard_stream_does_its_work(closed: str, told: bool) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" schemas list --json {closed}', ESCAPE],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert bool(json.loads(done.stdout or "[]")) == told


def test_no_file_takes_the_place_of_a_standard_stream_that_is_closed(tmp_path: Path) -> None:
    written = tmp_path / "file"
    program = f"import infra.cli.common, os; held = open({str(written)!r}, 'w'); os.write(1, b'foreign')"
    done = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, program], timeout=PATIENCE)
    assert done.returncode == 0
    assert written.read_text() == ""

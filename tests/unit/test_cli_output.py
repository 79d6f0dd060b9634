"""What a command does whose standard output takes no more."""

from __future__ import annotations

import subprocess
import sys

import pytest


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

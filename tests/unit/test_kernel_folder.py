"""Compiled code never outlives the source that it was compiled from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from economy import kernel_folder

ROOT = Path(__file__).parents[2]


def test_every_change_of_source_has_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "economy" / "markets" / "matching").mkdir(parents=True)
    layout = tmp_path / "economy" / "markets" / "matching" / "layout.py"
    layout.write_text("WIDTH = 3\n")
    first = kernel_folder(tmp_path)
    assert kernel_folder(tmp_path) == first
    layout.write_text("WIDTH = 4\n")
    os.utime(layout, ns=(1, 1))
    second = kernel_folder(tmp_path)
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "new.py").touch()
    assert len({first, second, kernel_folder(tmp_path)}) == 3


def _told(module: str, **environment: str) -> str:
    code = f"import {module}, numba; print(numba.config.CACHE_DIR)"
    mine = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=mine | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_numba_is_told_whichever_package_comes_first() -> None:
    wanted = str(kernel_folder(ROOT))
    for module in ("economy.numbers.rng", "schemas.rows", "agents.village", "schemas.log.recordbatch"):
        assert _told(module) == wanted


def test_a_parent_with_older_source_is_not_followed_but_a_user_is(tmp_path: Path) -> None:
    wanted = str(kernel_folder(ROOT))
    assert _told("economy.numbers.rng", NUMBA_CACHE_DIR=str(Path(wanted).with_name("kernels-0000"))) == wanted
    assert _told("economy.numbers.rng", NUMBA_CACHE_DIR=str(tmp_path)) == str(tmp_path)

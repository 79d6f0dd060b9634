"""A run depends neither on the processor's vector units nor on which kernel BLAS picks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_RUN = """
from agents.village import VillageModel
from economy.scenario import load_scenario
from runs.local import run_local

print(run_local(VillageModel(load_scenario("village", {"years": "1"}), 3)).digest)
"""
_GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def _digest(**environment: str) -> str:
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "NPY_", "NUMBA_"))}
    command = [sys.executable, "-W", "ignore", "-c", _RUN]
    return subprocess.run(command, env=mine | environment, capture_output=True, text=True, check=True).stdout.strip()


def _dispatched() -> str:
    """The processor's features that numpy has kernels for and that can be switched off."""
    known = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return " ".join(known)


@pytest.fixture(scope="module")
def plain() -> str:
    return _digest()


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"}, id="another kernel of BLAS"),
        pytest.param({"NPY_DISABLE_CPU_FEATURES": _dispatched()}, id="no vector units for numpy"),
        pytest.param(_GENERIC, id="numba for any processor", marks=pytest.mark.soak),  # compiles everything again
    ],
)
def test_the_digest_does_not_depend_on_the_processor(environment: dict[str, str], plain: str, tmp_path: Path) -> None:
    assert len(plain) == 32
    assert _digest(**environment, **({"NUMBA_CACHE_DIR": str(tmp_path)} if environment is _GENERIC else {})) == plain

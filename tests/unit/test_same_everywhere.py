"""A run depends neither on the processor's vector units nor on which kernels BLAS and the C library pick for it."""

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
# Functions of glibc for processors without fused multiply-add; where they are the plain ones too, nothing is varied.
_UNFUSED = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4"}
_LIBM = """
import math
from hashlib import sha256

points = [i / 4096 for i in range(-16384, 16384)]
print(sha256(repr([(math.exp(x), math.log(x + 4.5), math.pow(x + 4.5, 0.3)) for x in points]).encode()).hexdigest())
"""
_GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def _told(code: str, **environment: str) -> str:
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "NPY_", "NUMBA_", "GLIBC_"))}
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, env=mine | environment, capture_output=True, text=True, check=True).stdout.strip()


def _digest(**environment: str) -> str:
    return _told(_RUN, **environment)


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


def test_the_digest_does_not_show_which_functions_the_c_library_picks(plain: str) -> None:
    """The calls of libm that rules still make round to the same integers here; test_same_functions.py lists them."""
    if _told(_LIBM) == _told(_LIBM, **_UNFUSED):
        pytest.skip("the C library of this machine has one kernel only")
    assert _digest(**_UNFUSED) == plain

"""The mechanism of the economy: what is possible and how it is booked. Pure: no Kafka, no clock, no global luck."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

_VARIABLE: Final = "NUMBA_CACHE_DIR"
_PREFIX: Final = "kernels-"
_PACKAGES: Final = ("economy", "schemas", "agents", "streams")  # those with compiled functions


def kernel_folder(root: Path) -> Path:
    """Where numba keeps the machine code of this very source.

    Numba compares a function's own file only, but compiles constants and helpers of other modules into it: after a
    change of those it would go on with the old ones, without a word.
    """
    seen = hashlib.blake2b(digest_size=8)
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            stat = path.stat()
            seen.update(f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    beside = root / "economy"
    base = beside / "__pycache__" if os.access(beside, os.W_OK) else Path.home() / ".cache" / "escapecapitalism"
    return base / f"{_PREFIX}{seen.hexdigest()}"


def _name_kernel_folder() -> None:
    """Tell numba, which reads the variable when it is imported; a folder that a user chose stays."""
    given = os.environ.get(_VARIABLE, "")
    if not given or Path(given).name.startswith(_PREFIX):  # one of ours: a parent process may have older source
        os.environ[_VARIABLE] = str(kernel_folder(Path(__file__).parents[1]))


_name_kernel_folder()

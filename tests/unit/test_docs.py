"""The documented exit codes are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

from economy import errors

ROOT = Path(__file__).parents[2]


def test_exit_codes_are_documented_as_they_are() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)`", (ROOT / "docs" / "exit-codes.md").read_text(), re.MULTILINE)
    documented = {name: int(code) for code, name in rows}
    kinds = [errors.EscapeError, *errors.EscapeError.__subclasses__()]
    own = {kind.__name__: kind.exit_code for kind in kinds if kind.__module__ == errors.__name__}
    assert documented == own

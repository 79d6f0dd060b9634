"""What a module does not need it does not load: commands start sooner, and a part can be used without the others."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FORBIDDEN = {
    "economy.ledger": {"pydantic", "scipy"},
    "economy.production": {"pydantic"},
    "agents.registry": {"agents.village", "economy.opening", "ray", "pydantic"},
    "runs.replay": {"faust", "mode", "ray", "agents.village"},
    "runs.compare": {"faust", "mode", "ray"},
    "runs.checkpoint": {"faust", "mode", "ray"},
    "runs.verify": {"faust", "mode", "ray"},
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_a_module_does_not_load_what_it_does_not_need(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not FORBIDDEN[module] & set(json.loads(found.stdout))

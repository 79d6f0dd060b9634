"""Rules take exp, log, powers and angles from `economy/numbers/elementary.py`, the same bits on every machine."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
import pytest

ROOT: Final = Path(__file__).parents[2]
OWN: Final = "economy/numbers/elementary.py"
# Calls of the C library's functions that stand in rules, which may not change before RULES_VERSION 2.
UNTIL_RULES_VERSION_2: Final = {
    "agents/roles/corporation_rules.py": Counter({"numpy.exp": 3, "numpy.log": 1}),
    "agents/roles/statistics_office.py": Counter({"numpy.log": 1}),
}
# Of the C library's functions those that are exact or rounded as IEEE 754 says, on every machine.
EXACT: Final = """
    ceil copysign e fabs floor fmod frexp gcd inf isfinite isinf isnan isqrt ldexp modf nan pi sqrt tau trunc
"""
# Numpy's functions whose last bit its version, the C library or the processor decides.
INEXACT: Final = """
    * acos acosh angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh cbrt cos cosh
    emath exp exp2 expm1 float_power geomspace hypot i0 log log10 log1p log2 logaddexp logaddexp2 logspace pow power
    sin sinc sinh tan tanh
"""
# Ufuncs of numpy that give floats and that every machine computes alike.
EXACT_OF_NUMPY: Final = """
    abs absolute add ceil conj conjugate copysign deg2rad degrees divide divmod fabs floor floor_divide fmax fmin fmod
    frexp heaviside ldexp maximum minimum mod modf multiply negative nextafter positive rad2deg radians reciprocal
    remainder rint sign spacing sqrt square subtract true_divide trunc
"""
# In which order these add is for BLAS to choose: test_same_everywhere.py varies it.
OF_BLAS: Final = "matmul matvec vecdot vecmat"
_LIBRARIES: Final = ("cmath", "scipy.special", "numpy.emath", "numpy.lib.scimath")


def _inexact(name: str) -> bool:
    """Whether a full name is a function whose last bit a machine decides."""
    package, _, member = name.partition(".")
    if package == "math":
        return bool(member) and member not in EXACT.split()
    return f"{name}.".startswith(tuple(f"{library}." for library in _LIBRARIES)) or (
        package == "numpy" and member in INEXACT.split()
    )


class _Finder(ast.NodeVisitor):
    """Full names of the functions that a module uses, whatever it calls them; `**` of anything but literals is pow."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {"pow": "math.pow"}
        self.found: Counter[str] = Counter()

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            package = name.name.partition(".")[0]
            self.known[name.asname or package] = name.name if name.asname else package
            self._note(name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for name in node.names:
            full = f"{node.module}.{name.name}"
            self.known[name.asname or name.name] = full
            self._note(full)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and "." in self.known.get(node.id, ""):
            self._note(self.known[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, value = [node.attr], node.value
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name) and value.id in self.known:
            self._note(".".join((self.known[value.id], *reversed(parts))))
        else:
            self.visit(value)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Pow) and not _whole(node.left):
            self._note("math.pow")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Pow):
            self._note("math.pow")
        self.generic_visit(node)

    def _note(self, name: str) -> None:
        if _inexact(name):
            self.found[name] += 1


def _whole(base: ast.expr) -> bool:
    """Whether a base is a whole number that is written out: 10**9 and 2.0**62 are exact."""
    return isinstance(base, ast.Constant) and isinstance(base.value, int | float) and base.value == int(base.value)


def inexact_calls(source: str) -> Counter[str]:
    """How often a module uses each function whose last bit a machine decides."""
    finder = _Finder()
    finder.visit(ast.parse(source))
    return finder.found


def test_rules_use_elementary_functions_of_our_own() -> None:
    paths = sorted(path for package in ("economy", "agents") for path in (ROOT / package).rglob("*.py"))
    found = {str(path.relative_to(ROOT)): inexact_calls(path.read_text()) for path in paths}
    del found[OWN]  # it may use what it is written to replace; what it uses is exact
    assert {path: calls for path, calls in found.items() if calls} == UNTIL_RULES_VERSION_2, f"see {OWN}"


def test_our_own_functions_stand_on_exact_ones() -> None:
    assert not inexact_calls((ROOT / OWN).read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.exp(1.0)",
        "import numpy\ny = numpy.log",
        "from numpy import power as p\np(2.0, 3.0)",
        "import math as m\nm.pow(2.0, 3.0)",
        "from math import tanh",
        "from math import *",
        "import scipy.special",
        "from scipy import special",
        "import numpy as np\nnp.emath.log(2.0)",
        "from numpy.lib.scimath import log",
        "x = y ** 0.5",
        "x **= 2",
        "x = pow(y, 0.5)",
    ],
)
def test_a_function_of_the_machine_is_found_by_whatever_name(source: str) -> None:
    assert inexact_calls(source)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.sqrt(2.0)",
        "import math\nmath.ldexp(math.floor(2.5), 3)",
        "x = 10**9 + 2.0**62 + 10**k",
        "exp(2)",
    ],
)
def test_what_every_machine_computes_alike_is_free(source: str) -> None:
    assert not inexact_calls(source)


def test_every_function_of_this_numpy_is_told_on_which_side_it_stands() -> None:
    ufuncs = {name: kind for name in dir(np) if isinstance(kind := getattr(np, name), np.ufunc)}
    floats = {name for name, kind in ufuncs.items() if any("d" in types.partition("->")[2] for types in kind.types)}
    assert not floats - set(f"{EXACT_OF_NUMPY} {INEXACT} {OF_BLAS}".split())

"""The models that runs may name. A name out of a record is looked up here and nowhere else: it never is an import path.

A run's record says by which model it was computed. Whoever can write to the log can write that record, so the name in
it decides only which of the models that this program has, or that its user has trusted, is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from agents.model import Model
from economy.errors import InputError

Factory = Callable[[str, int], Model]  # (scenario as canonical JSON, seed)
VILLAGE: Final = "agents.village:make"  # as runs have recorded it ever since; where the code lies may change
SETTING: Final = "models"
_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")  # module:function


def _village(scenario: str, seed: int) -> Model:
    from agents.village import make  # all agents, whom most commands do not need

    return make(scenario, seed)


_OWN: Final[Mapping[str, Factory]] = MappingProxyType({VILLAGE: _village})


@dataclass(frozen=True)
class Models:
    """The program's own models, and `trusted` ones: module:function each, which are imported when a run names them.

    Raises InputError for a trusted one that is not written so.
    """

    trusted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in self.trusted:
            if not _PATH.fullmatch(path):
                raise InputError(SETTING, path, "name a function as module:function")

    def refusal(self, name: str) -> str:
        """Why the model of this name is not made; "" when it may be, and where no model is named, as by a tape."""
        if not name or name in _OWN or name in self.trusted:
            return ""
        known = ", ".join((*_OWN, *self.trusted))
        return (
            f"known are {known}; to make another model would run its code: if you know it, name it in the setting "
            f"{SETTING} or by --trust"
        )

    def check(self, *names: str) -> None:
        """Raises InputError, which names the model and the setting, for a name that is neither ours nor trusted."""
        for name in names:
            if why := self.refusal(name):
                raise InputError("model", name, why)

    def make(self, name: str, scenario: str, seed: int) -> Model:
        """The model that a run names. Raises InputError for one that is not known, or not where it is trusted to be."""
        self.check(name)
        if not name:
            raise InputError("model", name, "the run does not name its model")
        factory = _OWN.get(name) or _imported(next(path for path in self.trusted if path == name))
        return factory(scenario, seed)

    def of(self, started: Mapping[str, Any]) -> Model:
        """The model of a run, by its RunStarted."""
        return self.make(model_name(started), started["scenario"], started["seed"])


OWN_MODELS: Final = Models()  # nothing beside the program's own: what everybody gets who is told no more


def model_name(started: Mapping[str, Any]) -> str:
    """The model that a RunStarted names; "" where it names none, as a tape's."""
    return str(started["environment"].get("model", ""))


def _imported(path: str) -> Factory:
    module, _, name = path.partition(":")
    try:
        factory: Factory = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(SETTING, path, f"there is no such function: {error}") from error
    return factory

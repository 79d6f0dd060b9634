"""Pages that hold all they need, Plotly and figures included. Every text in them is escaped where it is put."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

_ASSETS: Final = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Cell:
    """A cell of a table, in one of the page's dresses."""

    text: str
    kind: Literal["", "code", "soft", "yes", "no"] = ""


@dataclass(frozen=True)
class Table:
    """A table; columns in `right` are numbers."""

    head: Sequence[str]
    rows: list[list[Cell]]
    right: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(cls, head: Sequence[str], rows: Iterable[Iterable[str | Cell]], right: Iterable[int] = ()) -> Table:
        """From cells that are plain texts or dressed."""
        dressed = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        return cls(head, dressed, frozenset(right))


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip


def page(template: str, charts: Sequence[dict[str, Any]], **told: Any) -> str:
    """The page of a template. `charts` are {traces, layout} as Plotly takes them, by their number in the template."""
    found = _templates().get_template(template)
    return found.render(
        # "<" is escaped, so that no text of a run can end the script element.
        charts=json.dumps(charts).replace("<", "\\u003c"),
        style=(_ASSETS / "report.css").read_text(),
        plotly=get_plotlyjs(),
        script=(_ASSETS / "report.js").read_text(),
        **told,
    )

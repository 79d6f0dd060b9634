"""docs/cookbook.md is true: every query in it is asked of the run that it names and gives the answer printed below it.

After a change of the rules: `python -m tests.unit.test_graphql_cookbook` asks again and writes the answers.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from queries.server import ApiConfig, create_app
from tests.recorded_village import recorded_village
from tests.serving import Client, serving
from tests.tables import local_tables

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
RECIPE = re.compile(r"```graphql\n(.*?)```\n\n```json\n(.*?)```", re.DOTALL)
SHORT = {"years": "1", "calendar.rounds": "4"}


@contextmanager
def village() -> Iterator[Client]:
    """Run 1 of the page, and run 2, the same with a lower payout of firms."""
    with (
        tempfile.TemporaryDirectory() as folder,
        local_tables(
            Path(folder), recorded_village(1, 5, SHORT), recorded_village(2, 5, {**SHORT, "firms.payout": "0.4"})
        ) as tables,
        serving(create_app(ApiConfig(), tables)) as client,
    ):
        yield client


@pytest.fixture(scope="module", name="client")
def village_client() -> Iterator[Client]:
    with village() as found:
        yield found


def shown(value: Any, indent: str = "") -> str:
    """JSON in few lines: what fits in one stands in one."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= 116:
        return line
    inner, pairs = f"{indent}  ", isinstance(value, dict)
    items = (
        [f"{json.dumps(k)}: {shown(v, inner)}" for k, v in value.items()] if pairs else [shown(v, inner) for v in value]
    )
    begin, end = "{}" if pairs else "[]"
    return f"{begin}\n{inner}{f',{chr(10)}{inner}'.join(items)}\n{indent}{end}"


PYTHON = re.compile(r"```python\n(# A client.*?)```", re.DOTALL)
GQL = re.compile(r"```python\n(# The same with gql.*?)```", re.DOTALL)


def test_the_python_client_of_the_page_runs(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = PYTHON.findall(PAGE.read_text())
    page: dict[str, Any] = {}
    exec(compile(program.replace("127.0.0.1:8000", client.address), "cookbook", "exec"), page)
    (window,) = client.ask("{ run(id: 1) { windows(first: 1) { gdp { real { stream } } } } }")["run"]["windows"]
    total = window["gdp"]["real"]["stream"]
    printed = capsys.readouterr().out
    assert total in printed
    assert "notional" in printed
    assert page["series"](1, "gdp_real")["gdp_real", "0"].iloc[0] == Decimal(total)
    assert page["series"](1, "gdp_real", number=float).dtypes.tolist() == [float]
    trades = page["trades"](1, limit=1, instrument=1, fromNotional="1")
    assert {type(value) for column in ("price", "quantity", "notional") for value in trades[column]} == {Decimal}
    assert min(trades.notional) >= 1
    floats = page["trades"](1, limit=1, number=float, instrument=1, fromNotional="1")
    assert (floats.notional == trades.notional.astype(float)).all()


def test_the_client_with_gql_runs(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = GQL.findall(PAGE.read_text())
    exec(compile(program.replace("127.0.0.1:8000", client.address), "cookbook", "exec"), {})
    windows = client.ask("{ run(id: 1) { windows { number gdp { equal real { stream } } } } }")["run"]["windows"]
    expected = [f"{w['number']} {w['gdp']['real']['stream']} {w['gdp']['equal']}" for w in windows]
    assert capsys.readouterr().out.splitlines() == expected


def test_answers_are_those_of_the_page(client: Client) -> None:
    recipes = RECIPE.findall(PAGE.read_text())
    assert len(recipes) == 10
    for query, answer in recipes:
        assert client.ask(query) == json.loads(answer), query


def test_every_recipe_is_a_question() -> None:
    titles = re.findall(r"^## (\d+)\. (.*)$", PAGE.read_text(), re.MULTILINE)
    assert [int(n) for n, _ in titles] == list(range(1, 11))
    assert all(title.endswith("?") for _, title in titles)


def write() -> None:
    """Ask again and write the answers."""
    with village() as client:
        page = RECIPE.sub(
            lambda m: f"```graphql\n{m[1]}```\n\n```json\n{shown(client.ask(m[1]))}\n```", PAGE.read_text()
        )
    PAGE.write_text(page)


if __name__ == "__main__":
    write()

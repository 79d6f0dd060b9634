"""What is kept is kept by what a caller may see, never by what he says of himself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from queries.policy import EVERYTHING, Scope
from queries.server import ApiConfig, create_app
from tests.processes import until
from tests.serving import Client, serving
from tests.synthetic import synthetic_run
from tests.tables import LocalTables, local_tables

RUN, CALLERS, OFTEN = 7, 30, 5
QUERY = "{ run(id: 7) { trades(first: 3) { nodes { %s: seq } } windows { gdp { equal } } } }"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTables]:
    with local_tables(tmp_path_factory.mktemp("policy"), synthetic_run(RUN, 3)) as found:
        yield found


def invented() -> dict[str, str]:
    return {"Authorization": f"Bearer {secrets.token_hex()}"}


def test_invented_authorisations_make_one_copy_and_one_answer(tables: LocalTables, tmp_path: Path) -> None:
    with serving(create_app(ApiConfig(copies=tmp_path, copies_after=OFTEN), tables)) as client:
        # Of different texts, so that each is executed: the copy is made after as many as if one had asked them all.
        for i in range(OFTEN):
            client.post(QUERY % f"n{i}", headers=invented())
        until(lambda: _kept(client) == (1, 0))
        before = len(tables.statements)
        for i in range(CALLERS):
            client.post(QUERY % f"n{OFTEN + i}", headers=invented())
        assert _kept(client) == (1, 0)
        assert len(list(tmp_path.iterdir())) == 1
        read = [sql for sql in tables.statements[before:] if "FROM runs" not in sql and "SELECT 1 AS" not in sql]
        assert read == []  # the figures are remembered and the trades copied, whoever asks
        entries = client.http.get("/health").json()["cache"]["entries"]
        hits = [client.post(QUERY % "n0", headers=invented()).headers["x-cache"] for _ in range(CALLERS)]
        assert hits == ["hit"] * CALLERS
        assert client.http.get("/health").json()["cache"]["entries"] == entries == OFTEN + CALLERS


def _kept(client: Client) -> tuple[int, int]:
    (engine,) = client.http.get("/health").json()["engines"]
    return engine["copies"], engine["making"]


def test_another_scope_shares_nothing(tables: LocalTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = EVERYTHING
    monkeypatch.setattr("queries.over_http.scope_of", lambda _: granted)
    with serving(create_app(ApiConfig(copies=tmp_path, copies_after=OFTEN), tables)) as client:
        for i in range(OFTEN):
            client.post(QUERY % f"n{i}")
        until(lambda: _kept(client) == (1, 0))
        assert client.post(QUERY % "n0").headers["x-cache"] == "hit"
        granted = Scope("less")
        assert client.post(QUERY % "n0").headers["x-cache"] == "miss"
        for i in range(OFTEN):
            client.post(QUERY % f"n{i}")
        until(lambda: _kept(client) == (2, 0))
        assert len(list(tmp_path.iterdir())) == 2

"""The main job from the command line, and what can be asked about its run afterwards, all on one running stack."""

from __future__ import annotations

import json
import signal
import subprocess
from decimal import Decimal
from pathlib import Path

import fastavro
import httpx
import psutil
import pytest

from tests.integration.commands import ESCAPE, answer, environment, escape, listening, refused
from tests.processes import PATIENCE, child

pytestmark = pytest.mark.integration


def test_the_demo_and_the_questions_after_it(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    answer("up", "--json", state=state)
    try:
        told = answer("demo", "--exit", "--years", "1", "--json", state=state)
        _check_summary(told)
        run = told["run"]["run"]
        pages = [Path(path).read_text() for path in told["reports"]]
        assert str(run) in pages[0]

        files = tmp_path / "files"
        exported = answer("export", str(run), "--out", str(files), "--json", state=state)
        with open(files / "market.trades.v1.avro", "rb") as file:
            kinds = [record["instrument"] for record in fastavro.reader(file) if "taker_order" in record]
        assert len(kinds) == told["run"]["trades"]
        assert exported["records"]["market.trades.v1"] > len(kinds)

        matrices = answer("accounts", str(run), "--json", state=state)
        for name in ("balance_sheet", "transaction_flows"):
            matrix = matrices[name]
            for column in matrix["columns"]:
                assert sum(Decimal(row[column]) for row in matrix["rows"]) == 0
                assert sum(int(row[column]) for row in matrix["rows_raw"]) == 0
        _serve(state, str(run), told["run"]["digest"])
        refused(escape("job", "gdp", "--run", "5", state=state), 2, "run = 5", str(run))
        refused(escape("job", "nonsense", "--run", str(run), state=state), 2, "nonsense", "gdp, gini")
        code, _, err = escape("query", "{ nonsense }", state=state)
        assert (code, "Traceback" in err) == (1, False)
    finally:
        answer("down", "--json", state=state)


def _check_summary(told: dict[str, object]) -> None:
    tape, run, years = told["tape"], told["run"], told["years"]
    assert isinstance(tape, dict)
    assert isinstance(run, dict)
    assert isinstance(years, list)
    assert tape["matched"] >= 282
    assert run["ticks"] == 4000
    assert len(run["digest"]) == 32
    (year,) = years
    assert len(set(year["gdp"].values())) == 1
    assert Decimal(year["gdp"]["gdp_income"]) == Decimal(year["gdp_raw"]["gdp_income"]) / 10**8 > 0
    assert 0 < Decimal(year["gini_income"]) < 1
    assert isinstance(told["figures_equal"], int)
    assert told["figures_equal"] >= 4 * 15  # four windows of GDP with its components, Gini and Lorenz curves


def _serve(state: str, run: str, digest: str) -> None:
    """GraphQL answers at the printed address until SIGINT."""
    with child(
        [ESCAPE, "serve", "--production", "--allow-host", "figures.example"], env=environment(state=state),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        url = json.loads(server.stdout.readline())["url"]
        assert listening([psutil.Process(server.pid)]) == {"127.0.0.1"}
        asked = {"query": "query ($run: BigInt!) { run(id: $run) { digest } }", "variables": {"run": run}}
        # The address is printed when the socket listens: connections wait until they are served.
        told = httpx.post(f"{url}/graphql", json=asked, timeout=PATIENCE).json()
        assert told == {"data": {"run": {"digest": digest}}}
        assert httpx.get(f"{url}/reports/run-{run}.html", timeout=PATIENCE).status_code == 200
        named = {"Host": "figures.example"}
        assert httpx.post(f"{url}/graphql", json=asked, headers=named, timeout=PATIENCE).json() == told
        foreign = {"Host": "x.example"}
        assert httpx.post(f"{url}/graphql", json=asked, headers=foreign, timeout=PATIENCE).status_code >= 400
        assert httpx.get(f"{url}/graphiql", timeout=PATIENCE).status_code == 404
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0

"""Two runs beside each other, against differences that were put in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest

from queries.server import ApiConfig, create_app
from tests.serving import Client, serving
from tests.synthetic import UNIT, synthetic_run
from tests.tables import local_tables

PARENT, FORK, SAME = 7, 8, 9


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    parent, fork, same = (synthetic_run(run, 4) for run in (PARENT, FORK, SAME))
    same["runs"][0]["digest"] = parent["runs"][0]["digest"]
    scenario = json.loads(fork["runs"][0]["config"])
    scenario["government"] = {"vat_rate": 0.2}
    fork["runs"][0] |= {"config": json.dumps(scenario), "parent": PARENT, "parent_epoch": 1}  # own from tick 40
    for row in fork["stream_indicators"]:
        if row["window"] >= 2 and row["indicator"] == "gdp_real":
            row["value"] += 5 * row["window"]
    for row in fork["trade_executed"]:
        if row["tick"] in (12, 50) and row["instrument"] in (0, 2):
            row["price"] += 1  # at 12 it is shared history that differs, which a fork cannot have: not looked at
    for row in fork["balance_recorded"]:
        if row["window"] == 3 and row["account"] == "cash" and row["agent"] in (6, 9):
            row["quantity"] += {6: -3 * UNIT, 9: 2 * UNIT}[row["agent"]]
    with (
        local_tables(tmp_path_factory.mktemp("compare"), parent, fork, same) as tables,
        serving(create_app(ApiConfig(), tables)) as found,
    ):
        yield found


def test_a_fork_against_its_parent(client: Client) -> None:
    found = client.ask(
        """{ compare(a: 7, b: 8) { same firstWindow a { id } b { id parent }
        parameters { path a b }
        indicators(names: ["gdp_real", "closing_price"]) { measure { name unit } item windows a b difference }
        divergence { tick a { kind record } b { kind record } }
        movers(window: 3) { agentId difference agent { role } } } }"""
    )["compare"]
    assert (found["same"], found["firstWindow"], found["b"]) == (False, 2, {"id": "8", "parent": "7"})
    assert found["parameters"] == [{"path": "government.vat_rate", "a": None, "b": "0.2"}]
    series = {(s["measure"]["name"], s["item"]): s for s in found["indicators"]}
    assert series["gdp_real", "0"]["difference"] == ["0", "0", "0.0000001", "0.00000015"]
    assert series["gdp_real", "0"]["windows"] == [0, 1, 2, 3]
    for one in series.values():
        assert [Decimal(b) - Decimal(a) for a, b in zip(one["a"], one["b"], strict=True)] == [
            Decimal(d) for d in one["difference"]
        ]
    assert [series["closing_price", str(j)]["difference"] for j in range(4)] == [["0"] * 4] * 4
    split = found["divergence"]
    assert split["tick"] == "50"
    (mine,), (other,) = split["a"], split["b"]
    assert mine["kind"] == other["kind"] == "TradeExecuted"
    before, after = json.loads(mine["record"]), json.loads(other["record"])
    assert (before.pop("run"), after.pop("run")) == (PARENT, FORK)
    assert after == {**before, "price": before["price"] + 1}
    assert found["movers"] == [
        {"agentId": "6", "difference": "-3", "agent": {"role": "household"}},
        {"agentId": "9", "difference": "2", "agent": {"role": "household"}},
    ]


def test_equal_runs_have_no_difference(client: Client) -> None:
    query = """query ($b: BigInt!) { compare(a: 7, b: $b) { same firstWindow parameters { path } divergence { tick }
        movers(window: 1) { agentId } indicators(names: ["trades"]) { difference } } }"""
    for other in (PARENT, SAME):
        assert client.ask(query, b=other)["compare"] == {
            "same": True, "firstWindow": None, "parameters": [], "divergence": None, "movers": [],
            "indicators": [{"difference": ["0"] * 4}],
        }  # fmt: skip
    assert "choose one from runs" in client.errors(query, b=99)[0]["message"]
    assert client.post(query, b=SAME).headers["x-cache"] == "hit"

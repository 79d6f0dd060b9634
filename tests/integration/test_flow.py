"""Order flow from outside through Kafka and Faust, and out again: tapes, tables of events, a run as one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import answer, escape, refused
from tests.lobster import synthetic, write
from tests.tapes import book_options, facade_trades, random_rows, write_csv

pytestmark = pytest.mark.integration
ROWS = random_rows(1, 4000)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The state folder of a running stack with two partitions of each kind."""
    folder = str(tmp_path_factory.mktemp("flow") / "state")
    answer("up", "--json", state=folder, partitions="2", flow_partitions="2")
    yield folder
    answer("down", "--json", state=folder)


@pytest.fixture(scope="module")
def told(state: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `escape ingest tape` says of ROWS."""
    path = write_csv(tmp_path_factory.mktemp("tape") / "mine.csv", ROWS)
    found: dict[str, object] = answer("ingest", "tape", str(path), *book_options(), "--json", **settings(state))
    return found


def settings(state: str) -> dict[str, str]:
    return {"state": state, "partitions": "2", "flow_partitions": "2"}


def test_a_tape_goes_through_two_partitions(state: str, told: dict[str, object]) -> None:
    trades, rejected = facade_trades(ROWS)
    assert (told["trades"], told["rejected"]) == (len(trades), rejected)
    assert told["orders"] == sum(row["action"] == "submit" for row in ROWS)
    assert told["orders"] + told["cancels"] == len(ROWS)  # type: ignore[operator]
    names = Path(str(told["order_names"])).read_text().splitlines()
    assert names == list(dict.fromkeys(row["order"] for row in ROWS))
    shown = answer("runs", "show", str(told["run"]), "--json", **settings(state))
    assert (shown["state"], shown["digest"]) == ("finished", told["digest"])


def test_a_wrong_tape_leaves_nothing_on_the_log(state: str, told: dict[str, object], tmp_path: Path) -> None:
    rows = [*ROWS[:-1], ROWS[-1] | {"action": "amend"}]
    path = write_csv(tmp_path / "wrong.csv", rows)
    refused(escape("ingest", "tape", str(path), *book_options(), **settings(state)), 2, "wrong.csv row 4000 action")
    assert "wrong.csv" not in [run["scenario"] for run in answer("runs", "list", "--json", **settings(state))]


def test_a_lobster_day_goes_through_the_stream(state: str, tmp_path: Path) -> None:
    messages = synthetic(21, 2000)[500:]
    path = write(tmp_path / "ACME_2024-01-02_34200000_57600000_message_5.csv", messages)
    told = answer("ingest", "lobster", str(path), "--json", **settings(state))
    assert told["trades"] == told["prints"] == told["matched"] == sum(m[1] == 4 for m in messages)
    assert told["orders_from_before"] > 0
    assert (told["rejected"], told["differences"]) == (0, [])
    refused(escape("ingest", "lobster", str(tmp_path / "none.csv"), **settings(state)), 2, "none.csv")

"""Order flow from outside through Kafka and Faust, and out again: tapes, tables of events, a run as one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import fastavro
import pandas as pd
import pyarrow.parquet as pq
import pytest

from economy.errors import InputError, ProtocolError, UnknownRunError
from infra.broker import Broker
from runs.export_events import export_events
from runs.ingest import ingest
from runs.log import find_run
from runs.tapes.flow import Batch
from runs.tapes.table import COLUMNS, Scales, TableTape
from schemas.log import topics
from tests.integration.commands import answer, escape, refused
from tests.lobster import synthetic, write
from tests.tapes import book_options, facade_trades, random_rows, write_csv

pytestmark = pytest.mark.integration
ROWS = random_rows(1, 4000)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(state folder, broker's address) of a running stack with two partitions of each kind."""
    folder = str(tmp_path_factory.mktemp("flow") / "state")
    yield folder, answer("up", "--json", **settings(folder))["bootstrap"]
    answer("down", "--json", state=folder)


@pytest.fixture(scope="module")
def state(stack: tuple[str, str]) -> str:
    return stack[0]


@pytest.fixture(scope="module")
def bootstrap(stack: tuple[str, str]) -> str:
    return stack[1]


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


def _trades(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Exported trades with numbers for texts, and orders by their names, as the facade gives them."""
    whole = ("seq", "tick")
    return [
        {name: Decimal(str(v)) if name in ("price", "quantity") else int(str(v)) if name in whole else v
         for name, v in row.items()}
        for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet", "avro"])
def test_the_trades_of_a_tape_come_out_as_the_facade_makes_them(
    kind: str, bootstrap: str, told: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / f"trades.{kind}"
    count = export_events(bootstrap, "escape", int(str(told["run"])), "TradeExecuted", kind, path)
    if kind == "avro":
        with open(path, "rb") as file:
            rows = list(fastavro.reader(file))
    else:
        frame = pd.read_csv(path, dtype=str) if kind == "csv" else pq.read_table(path).to_pandas()
        rows = frame.to_dict("records")
    names = Path(str(told["order_names"])).read_text().splitlines()
    agents = list(dict.fromkeys(row["agent"] for row in ROWS))
    for row in rows:
        for side in ("maker", "taker"):
            row[f"{side}_order"] = names[int(row[f"{side}_order"])]
            row[f"{side}_agent"] = agents[int(row[f"{side}_agent"])]
    expected, _ = facade_trades(ROWS)
    assert list(rows[0]) == [*expected[0], "use", "tax"]
    assert {(row.pop("use"), row.pop("tax")) for row in rows} == {("none", "0.00000000")}
    assert _trades(rows) == expected
    assert count == len(expected)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_other_events_come_out_with_their_own_columns(bootstrap: str, told: dict[str, object], tmp_path: Path) -> None:
    found, run = {}, int(str(told["run"]))
    for name in ("OrderSubmitted", "OrderRejected", "InstrumentListed", "AgentFounded", "RunStarted", "EpochMatched"):
        path = tmp_path / f"{name}.csv"
        export_events(bootstrap, "escape", run, name, "csv", path)
        found[name] = pd.read_csv(path, dtype=str, keep_default_na=False)
    sent = [row for row in ROWS if row["action"] == "submit"]
    orders = found["OrderSubmitted"]
    # In canonical order: back to the tape's by the row number that n is.
    orders = orders.assign(n=orders.n.astype(int)).sort_values("n")
    assert orders.instrument.tolist() == [row["instrument"] for row in sent]
    assert orders.quantity.map(Decimal).tolist() == [Decimal(row["quantity"]) for row in sent]
    assert orders.tif.tolist() == [row["tif"] for row in sent]
    assert len(found["OrderRejected"]) == told["rejected"]
    assert sorted(found["InstrumentListed"].symbol) == sorted({row["instrument"] for row in ROWS})
    named = found["AgentFounded"].assign(agent=found["AgentFounded"].agent.astype(int)).sort_values("agent")
    assert named.name.tolist() == list(dict.fromkeys(row["agent"] for row in ROWS))
    assert len(found["RunStarted"]) == 1
    assert len(found["EpochMatched"]) == 2
    with pytest.raises(InputError, match=r"'Trades'.*TradeExecuted"):
        export_events(bootstrap, "escape", run, "Trades", "csv", tmp_path / "no.csv")
    with pytest.raises(UnknownRunError, match="run = 1 "):
        export_events(bootstrap, "escape", 1, "TradeExecuted", "csv", tmp_path / "no.csv")


def test_the_command_line_of_exports(state: str, told: dict[str, object], tmp_path: Path) -> None:
    run, table, file = str(told["run"]), tmp_path / "trades.parquet", tmp_path / "run.avro"
    written = answer("export", run, "--events", "TradeExecuted", "--out", str(table), "--json", **settings(state))
    assert (written["format"], written["records"]) == ("parquet", told["trades"])
    assert pq.read_metadata(table).num_rows == told["trades"]
    written = answer("export", run, str(file), "--json", **settings(state))
    assert written["digest"] == told["digest"]
    known = answer("import", str(file), "--json", **settings(state))
    assert (known["known"], known["digest"]) == (True, told["digest"])
    refused(escape("export", run, "--events", "TradeExecuted", "--format", "xlsx"), 2, "'xlsx'", "csv, parquet, avro")
    refused(escape("export", run, "run.csv"), 2, "run.csv", "--events")
    refused(escape("export", run, str(file), "--events", "TradeExecuted"), 2, "--events")
    refused(escape("import", str(table)), 2, "no Avro container")


def test_what_is_no_file_is_written_into_and_never_read(state: str, told: dict[str, object], tmp_path: Path) -> None:
    run, table, fifo = str(told["run"]), tmp_path / "trades.csv", tmp_path / "fifo"
    answer("export", run, "--events", "TradeExecuted", "--out", str(table), "--json", **settings(state))
    for name in ("-", "/dev/stdout"):
        code, out, err = escape("export", run, "--events", "TradeExecuted", "--out", name, "--json", **settings(state))
        assert (code, out) == (0, table.read_text())
        assert f'"file": "{name}"' in err
    refused(escape("export", run, "--out", "-", **settings(state)), 2, "--out", "--events")
    assert answer("export", run, "/dev/null", "--json", **settings(state))["digest"] == told["digest"]
    for where in (["/dev/full"], ["--events", "TradeExecuted", "--out", "/dev/full"]):
        refused(escape("export", run, *where, **settings(state)), 3, "/dev/full cannot be written", "make room")
    refused(escape("export", run, "--out", "/dev/full", **settings(state)), 3, "it is no folder")
    os.mkfifo(fifo)
    for command in (
        ("ingest", "tape", str(fifo)),
        ("ingest", "lobster", str(fifo)),
        ("import", str(fifo)),
        ("job", "gdp", "--file", str(fifo)),
    ):
        refused(escape(*command, **settings(state)), 2, "it is a pipe")
    refused(escape("run", str(fifo), "--carrier", "local", **settings(state)), 2, "TOML file")


def test_a_tape_is_told_from_a_simulation(state: str, told: dict[str, object]) -> None:
    run = str(told["run"])
    refused(escape("accounts", run, **settings(state)), 2, f"run = {run}", "it is a tape")
    refused(escape("show", run, "--at-tick", "0", **settings(state)), 2, f"run = {run}", "it is a tape")
    refused(escape("show", run, **settings(state)), 2, f"run = {run}", "it is a tape")
    assert answer("show", run, "--provenance", "--json", **settings(state))["run"] == told["run"]


@pytest.mark.parametrize("name", ["per_agent", "unique"])
def test_ids_of_each_agent_give_the_trades_of_ids_of_the_file(name: str, state: str, tmp_path: Path) -> None:
    rows = []
    for n in range(300):  # the ids of each agent are those of all others, in an order of its own
        agent, price, side = n % 7, 97 + (n * 5) % 7, "buy" if n % 2 else "sell"
        order = n // 7 * (agent + 1) % 43 if name == "per_agent" else n
        row = (n, agent, order, "XYZ", "submit", side, "limit", "gtc", "false", price, 1 + n % 3)
        rows.append(dict(zip(COLUMNS, map(str, row), strict=True)))
    path = write_csv(tmp_path / "tape.csv", rows)
    done = answer("ingest", "tape", str(path), "--no-store", "--json", **settings(state))
    assert (done["rejected"], done["trades"]) == (0, _naive_trades(rows))


def _naive_trades(rows: list[dict[str, str]]) -> int:
    found, _ = facade_trades([row | {"instrument": "DOGE", "order": str(n)} for n, row in enumerate(rows)])
    return len(found)


def test_an_interrupted_tape_is_an_aborted_run(broker: Broker, namespace: str, tmp_path: Path) -> None:
    topics.create(broker.bootstrap, namespace, 2, 1)
    tape = TableTape(
        write_csv(tmp_path / "mine.csv", [row | {"quantity": "1"} for row in ROWS[:100]]), Scales({}, {}, 4, 0)
    )
    whole = tape.flow()

    def batches() -> Iterator[Batch]:
        yield from whole.batches
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(broker.bootstrap, namespace, 2, 1, 5, replace(whole, batches=batches()))
    info = find_run(broker.bootstrap, namespace, 5)
    assert (info.state, info.digest) == ("aborted", "")
    # Nobody matches here: a tape waits no longer than it was told to.
    with pytest.raises(ProtocolError, match="stands still"):
        ingest(broker.bootstrap, namespace, 2, 1, 6, tape.flow(), patience=0.5)
    assert find_run(broker.bootstrap, namespace, 6).state == "aborted"

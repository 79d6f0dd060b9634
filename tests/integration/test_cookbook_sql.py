"""The SQL part of docs/cookbook.md runs as it is printed, against the embedded ClickHouse, as the user `reader`."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from infra.clickhouse import EmbeddedClickHouse
from queries.migrate import migrate
from queries.store import Store
from schemas.clickhouse import TABLES
from schemas.clickhouse_server import ClickHouseConfig

pytestmark = pytest.mark.integration
PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
PROGRAM = re.compile(r"```python\n(# Any table.*?)```", re.DOTALL)


def test_tables_become_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = PROGRAM.findall(PAGE.read_text())
    trade = TABLES["TradeExecuted"]
    columns = {field.name: np.arange(5) if not field.symbols else np.ones(5, np.int64) for field in trade.columns}
    columns |= {"run": np.array([1, 1, 1, 1, 2]), "seq": np.array([0, 1, 2, 2, 3]), "instrument": np.zeros(5, np.int64)}
    with EmbeddedClickHouse(tmp_path / "clickhouse") as clickhouse:
        config = ClickHouseConfig.from_dsn(clickhouse.dsn())
        migrate(config)
        with Store(config) as store:
            for row in range(5):  # one part each, so that FINAL has to find what stands twice
                store.insert(trade.name, {name: values[row : row + 1] for name, values in columns.items()})
            figures = {
                "run": [1],
                "window": [0],
                "indicator": ["gdp_real"],
                "item": [0],
                "value": [Decimal(10**30 + 1)],
            }
            store.insert("stream_indicators", figures)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.dsn("reader"))
        exec(compile(program, "cookbook", "exec"), {})
    assert str(10**30 + 1) in capsys.readouterr().out
    table = pyarrow.parquet.read_table(tmp_path / "trades.parquet")
    assert table.column_names == trade.names
    assert sorted(table["seq"].to_pylist()) == [0, 1, 2]
    assert set(table["run"].to_pylist()) == {1}
    assert pyarrow.csv.read_csv(tmp_path / "trades.csv").column_names == ["tick", "price", "quantity"]

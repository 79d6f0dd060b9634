"""The committed SQL holds a column for every field of the catalogue, and every column says what it is."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from queries.migrate import MigrationError, load
from schemas.catalogue import EVENTS
from schemas.clickhouse import native_block
from schemas.clickhouse_server import ClickHouseConfig

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n\(\n(.*?)\n\)\n(.*)", re.DOTALL)
_CHANGE = re.compile(
    r"ALTER TABLE (\w+) "
    r"(?:ADD COLUMN IF NOT EXISTS `(?P<new>\w+)` (?P<type>\w+) COMMENT '(?P<said>.+)' AFTER `(?P<after>\w+)`"
    r"|COMMENT COLUMN IF EXISTS `(?P<old>\w+)` '(?P<says>.+)'|MODIFY COMMENT '.+'"
    r"|MODIFY COLUMN `(?P<changed>\w+)` (?P<becomes>.+) COMMENT '(?P<told>.+)')"
)
_REBUILDING = re.compile(  # of a table with other settings, its columns and rows as they were
    r"CREATE TABLE IF NOT EXISTS (\w+)_fine AS \1\n(?P<rest>.*)|TRUNCATE TABLE \w+_fine"
    r"|INSERT INTO (\w+)_fine SETTINGS \w+ = 0 SELECT \* FROM \3|EXCHANGE TABLES (\w+) AND \4_fine|DROP TABLE \w+_fine",
    re.DOTALL,
)
_COLUMN = re.compile(r"    `?(\w+)`? (.+?) (?:DEFAULT \S+ )?COMMENT '((?:[^'\\]|\\.)+)',?")
# Records of the transport and of the clock: they are read from the log, not from tables.
_UNTABLED = {
    "BooksRestored",
    "ChainSealed",
    "ClockStarted",
    "EpochClosed",
    "EpochGranted",
    "EpochMatched",
    "PaceChanged",
    "RunClosed",
    "RunOpened",
    "RunPaused",
    "RunResumed",
}
_ELSEWHERE = {"RunStarted", "RunFinished", "RunAborted", "WindowMeasured"}  # runs, stream_indicators


def tables() -> dict[str, tuple[dict[str, tuple[str, str]], str]]:
    """Table -> ({column: (type, comment)}, what follows the columns), read from the committed files."""
    found: dict[str, tuple[dict[str, tuple[str, str]], str]] = {}
    for migration in load():
        for statement in migration.statements:
            if changed := _CHANGE.fullmatch(statement):
                _change(found[changed[1]][0], changed)
                continue
            if rebuilding := _REBUILDING.fullmatch(statement):
                if rebuilding["rest"]:
                    found[rebuilding[1]] = found[rebuilding[1]][0], rebuilding["rest"]
                continue
            match = _TABLE.match(statement)
            if match is None:
                assert "AS batch_indicators" in statement or statement.startswith("DROP TABLE IF EXISTS")
                continue
            columns = {}
            for line in match[2].split("\n"):
                column = _COLUMN.fullmatch(line)
                assert column, f"{match[1]}: no comment at {line}"
                columns[column[1]] = (column[2], column[3].replace("\\'", "'"))
            found[match[1]] = (columns, match[3])
    return found


def _change(columns: dict[str, tuple[str, str]], change: re.Match[str]) -> None:
    if change["old"]:
        columns[change["old"]] = (columns[change["old"]][0], change["says"])
    elif change["changed"]:
        columns[change["changed"]] = (change["becomes"], change["told"])
    elif change["new"]:
        behind = list(columns).index(change["after"]) + 1
        rest = [(name, columns.pop(name)) for name in list(columns)[behind:]]
        columns[change["new"]] = (change["type"], change["said"])
        columns.update(rest)


def test_every_event_has_its_table_with_all_fields_and_units() -> None:
    known = tables()
    for name, event in EVENTS.items():
        if name in _UNTABLED | _ELSEWHERE:
            continue
        table = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        assert table in known, f"{name}: add a migration"
        columns, rest = known[table]
        assert list(columns) == [f.name for f in event.fields] + ["kafka_partition", "kafka_offset"]
        for raw, field in zip(event.schema["fields"], event.fields, strict=True):
            kind, said = columns[field.name]
            assert field.doc in said
            assert field.unit in said
            if isinstance(raw["type"], dict):
                symbols = re.findall(r"'(\w+)' = (\d+)", kind)
                assert symbols == [(s, str(k)) for k, s in enumerate(raw["type"]["symbols"])], f"{name}.{field.name}"
            else:
                assert kind == {"long": "Int64", "int": "Int32", "string": "String"}[raw["type"]]
        assert "PARTITION BY run" in rest
        key = re.search(r"ORDER BY \((.*)\)", rest)
        assert key is not None
        assert key[1].startswith("run, ")
    assert {"runs", "stream_indicators", "batch_indicators", "tape_comparisons"} <= set(known)


def test_files_with_a_gap_or_a_foreign_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;\nSELECT 2;\n")
    assert [m.statements for m in load(tmp_path)] == [("SELECT 1", "SELECT 2")]
    (tmp_path / "0003_b.sql").write_text("SELECT 1;\n")
    with pytest.raises(MigrationError, match="gap"):
        load(tmp_path)
    (tmp_path / "0003_b.sql").rename(tmp_path / "two.sql")
    with pytest.raises(MigrationError, match=r"two\.sql"):
        load(tmp_path)


def test_a_native_block_is_laid_out_as_the_format_says() -> None:
    block = native_block(
        ["a", "s", "d"], ["Int64", "String", "Decimal(38, 0)"], [[-1, 2], ["x", "é" * 100], [-5, 10**30]]
    )
    expected = b"\x03\x02" + b"\x01a\x05Int64" + struct.pack("<qq", -1, 2)
    expected += b"\x01s\x06String" + b"\x01x" + b"\xc8\x01" + ("é" * 100).encode()
    expected += b"\x01d\x0eDecimal(38, 0)" + struct.pack("<qq", -5, -1)
    expected += struct.pack("<QQ", 10**30 & (2**64 - 1), 10**30 >> 64)
    assert block == expected


def test_a_password_is_not_shown() -> None:
    config = ClickHouseConfig.from_dsn("http://escape:p%40ss@127.0.0.1:81/escape")
    assert config.password == "p@ss"
    assert config.url == "http://127.0.0.1:81"
    assert "p@ss" not in repr(config)

"""The catalogue: ids, compatibility, generated modules, keys and canonical columns."""

from __future__ import annotations

import copy
import re
from enum import EnumType, IntEnum
from pathlib import Path

from economy.records import canonical, events
from economy.records.digest import CODES
from schemas import generate
from schemas.catalogue import EVENTS, KEY_FIELD, partition_of, relock
from schemas.catalogue import locked_ids as locked
from schemas.compat import broken_promises, incompatible
from schemas.generate import RESERVED
from schemas.render import DOCS, GENERATED

PACKAGES = ("economy", "schemas", "agents", "streams", "jobs", "queries", "runs", "infra")
IMPLICIT = {"Use": {"none"}}  # the zero that a row has unless told otherwise


def test_ids_are_locked_and_every_version_is_fully_compatible() -> None:
    assert broken_promises() == []
    assert relock() == locked()


def test_the_check_can_fail() -> None:
    event = copy.deepcopy(dict(EVENTS["TradeExecuted"].schema))
    event["fields"] = [*event["fields"], {"name": "venue", "type": "long"}]  # a new field without a default
    assert incompatible(event, EVENTS["TradeExecuted"].schema)
    assert not incompatible(EVENTS["TradeExecuted"].schema, event)
    event["fields"][-1]["default"] = 0
    assert not incompatible(event, EVENTS["TradeExecuted"].schema)


def test_the_generated_layout_is_up_to_date() -> None:
    written = (Path(generate.TARGET)).read_text()
    squeezed = "".join(generate.render().split())
    assert "".join(written.split()) == squeezed, "run python -m schemas.generate"


def test_every_field_has_a_meaning_and_the_canonical_columns_are_where_they_should_be() -> None:
    for name, event in EVENTS.items():
        assert event.doc
        assert all(field.doc for field in event.fields), name
    for name in canonical.DECISION_TYPES + canonical.ORDER_TYPES + canonical.FLOW_TYPES:
        fields = [f.name for f in EVENTS[name].fields[:4]]
        assert fields == ["run", "tick", "agent", "n"], name
    for name in canonical.TRADE_TYPES:
        fields = [f.name for f in EVENTS[name].fields[:4]]
        assert fields == ["run", "instrument", "seq", "tick"], name


def test_every_row_of_a_fact_is_in_the_digest() -> None:
    facts = {n for n, e in EVENTS.items() if e.is_row and e.key_field in ("agent", "instrument")}
    ours = facts - {"BalanceRecorded", "ChainSealed", "EpochClosed", "EpochMatched", "RunOpened", "RunClosed"}
    assert set(CODES) == ours, ours ^ set(CODES)


def test_partition_is_a_function_of_the_identifier() -> None:
    assert [partition_of(i, 4) for i in range(6)] == [0, 1, 2, 3, 0, 1]
    assert set(KEY_FIELD.values()) <= {None, "agent", "instrument"}


def test_generated_docs_are_up_to_date() -> None:
    for name, render in GENERATED.items():
        assert (DOCS / name).read_text() == render(), f"{name}: run python -m schemas.render"


def test_symbols_are_used_or_reserved_and_never_both() -> None:
    """A symbol that no code names is one that nobody writes: readers take any number that the schema has."""
    enums = {name: kind for name, kind in vars(events).items() if isinstance(kind, EnumType) and kind is not IntEnum}
    root = Path(__file__).parents[2]
    files = [file for package in PACKAGES for file in (root / package).rglob("*.py") if file != Path(events.__file__)]
    named = set(re.findall(r"\b([A-Z]\w+)\.([A-Z][A-Z_]*)\b", "".join(file.read_text() for file in files)))
    for name, kind in enums.items():
        unnamed = {symbol.name.lower() for symbol in kind if (name, symbol.name) not in named}
        assert unnamed - IMPLICIT.get(name, set()) == set(RESERVED.get(name, ())), name
    assert RESERVED.keys() <= enums.keys()

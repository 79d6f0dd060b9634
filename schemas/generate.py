"""Writes economy/records/events.py from the committed Avro schemas: `python -m schemas.generate`.

economy/ is below schemas/ and may not import it, yet both need the column order of the same records. The .avsc files
are the only source; a test holds the generated module up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AVRO = Path(__file__).parent / "avro"
TARGET = Path(__file__).parent.parent / "economy" / "records" / "events.py"

# Symbols that nothing writes yet. They stay, as the numbers behind them: whoever needs one takes it out of here.
RESERVED: Mapping[str, tuple[str, ...]] = {
    "Action": ("nothing",),
    "CloseReason": ("run_closed",),
    "HaltReason": ("operator",),
    "Parameter": ("price", "recipe", "consumption_share", "government_share", "capital_target"),
    "Policy": ("vat_rate", "profit_tax_rate", "replacement_rate"),
    "RejectReason": ("not_owner",),
    "TransferKind": ("income_tax", "transfer"),
}

HEADER = '''"""In-memory layout of every record whose fields are all integers. Written by `python -m schemas.generate`.

A batch of records is an int64 array of shape (records, fields), columns in the order of the Avro schema, enums as
their index; nothing writes those that are reserved. `Events` maps a record's name to its batch.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
Events: TypeAlias = dict[str, Rows]
'''


def snake_upper(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def is_row(schema: dict[str, Any]) -> bool:
    """True when every field is a long, an int or an enum, so that a record is a row of int64."""
    return all(
        field["type"] in ("long", "int") or (isinstance(field["type"], dict) and field["type"]["type"] == "enum")
        for field in schema["fields"]
    )


def load() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(AVRO.glob("*.avsc"))]


def render() -> str:
    schemas = load()
    enums: dict[str, list[str]] = {}
    for schema in schemas:
        for field in schema["fields"]:
            kind = field["type"]
            if isinstance(kind, dict) and kind["type"] == "enum":
                known = enums.setdefault(kind["name"], kind["symbols"])
                if known != kind["symbols"]:
                    raise ValueError(f"enum {kind['name']} differs between schemas ({schema['name']}): make them equal")
    parts = [HEADER]
    for name, symbols in sorted(enums.items()):
        reserved = {symbol: "  # reserved" for symbol in RESERVED.get(name, ())}
        lines = [f"    {symbol.upper()} = {index}{reserved.get(symbol, '')}" for index, symbol in enumerate(symbols)]
        parts.append(f"class {name}(IntEnum):\n" + "\n".join(lines) + "\n")
    for schema in schemas:
        if not is_row(schema):
            continue
        lines = [f'    name: Final = "{schema["name"]}"', f"    width: Final = {len(schema['fields'])}"]
        lines += [f"    {snake_upper(f['name'])}: Final = {i}" for i, f in enumerate(schema["fields"])]
        parts.append(f'class {schema["name"]}:\n    """{schema["doc"]}."""\n\n' + "\n".join(lines) + "\n")
    return "\n\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render())

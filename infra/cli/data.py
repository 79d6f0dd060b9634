"""escape schemas."""

from __future__ import annotations

import typer
from rich.table import Table

from infra.cli.common import Json, emit, err, guarded
from schemas.render import catalogue_rows

schemas_app = typer.Typer(help="The catalogue of events.", no_args_is_help=True)


@schemas_app.command("list")
@guarded
def schemas_list(json_: Json = False) -> None:
    """Print every event: topic, key, schema id, fields with units."""
    rows = catalogue_rows()
    if json_:
        emit(rows)
        return
    table = Table("event", "topic", "key", "id", "fields", show_lines=True)
    for row in rows:
        units = (f" [{f['unit']}]" if f["unit"] else "" for f in row["fields"])
        fields = "\n".join(f"{f['name']}: {f['type']}{unit}" for f, unit in zip(row["fields"], units, strict=True))
        table.add_row(row["event"], row["topic"], row["key"], str(row["schema_id"]), fields)
    err.print(table)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(schemas_app, name="schemas")

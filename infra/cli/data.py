"""escape schemas, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from infra.cli.common import Json, Namespace, State, emit, guarded, out, settings, using_stack

if TYPE_CHECKING:
    from infra.stack import Attached, Stack

schemas_app = typer.Typer(help="The catalogue of events.", no_args_is_help=True)
RunId = Annotated[int, typer.Argument(help="Run id, see `escape runs list`.")]


@schemas_app.command("list")
@guarded
def schemas_list(json_: Json = False) -> None:
    """Print every event: topic, key, schema id, version, fields with units."""
    from schemas.render import catalogue_rows

    rows = catalogue_rows()
    if json_:
        emit(rows)
        return
    table = Table("event", "topic", "key", "id", "version", "fields", show_lines=True)
    for row in rows:
        units = (f" [{f['unit']}]" if f["unit"] else "" for f in row["fields"])
        fields = "\n".join(f"{f['name']}: {f['type']}{unit}" for f, unit in zip(row["fields"], units, strict=True))
        table.add_row(row["event"], row["topic"], row["key"], str(row["schema_id"]), str(row["version"]), fields)
    out.print(table)


def report_of(stack: Stack | Attached, run: int, path: Path | None = None) -> Path:
    """Write a run's report, by default where `escape serve` finds it."""
    from queries.reader import Stores
    from runs.report import write_report

    assert stack.reader is not None
    return write_report(Stores(stack.reader), run, path or stack.folder / "reports" / f"run-{run}.html")


@guarded
def report(
    run: RunId,
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="reports/ of the state")] = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Write one self-contained HTML page about a run and print its path."""
    with using_stack(settings(state, namespace)) as stack:
        path = report_of(stack, run, out)
    if json_:
        emit({"run": run, "report": str(path.absolute())})
    else:
        print(path.absolute())


@guarded
def export(
    run: RunId,
    out: Annotated[Path | None, typer.Option(help="Folder to write.", show_default="run-RUN")] = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Write a run's records as Avro files, one per topic, and run.json."""
    from runs.export import export_run
    from runs.log import find_run

    folder = out or Path(f"run-{run}")
    with using_stack(settings(state, namespace), store=False) as stack:
        info = find_run(stack.bootstrap, stack.namespace, run)
        counts = export_run(stack.bootstrap, stack.namespace, info, folder)
    if json_:
        emit({"run": run, "folder": str(folder.absolute()), "records": counts})
    else:
        for family, count in counts.items():
            print(f"{count:>10,} {folder / family}.avro")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(schemas_app, name="schemas")
    for command in (report, export):
        app.command()(command)

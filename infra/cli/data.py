"""escape schemas, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from economy.errors import InputError
from infra.cli.common import (
    Json,
    Namespace,
    State,
    emit,
    guarded,
    out,
    progress,
    settings,
    table_of,
    using_stack,
)
from infra.settings import Settings

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
    events: Annotated[
        str | None, typer.Option(help="One kind of event as a table, such as TradeExecuted; see `escape schemas list`.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Of the table: csv, parquet or avro.", show_default="by --out, else csv")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File of the table, or folder.", show_default="run-RUN…")] = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Write a run's records into files.

    With --events, all events of one kind as a table (CSV, Parquet or Avro), in order, without repeats, prices and
    quantities as decimals. Otherwise a folder with an Avro file per topic, as the records stand on the log, and
    run.json.
    """
    chosen = settings(state, namespace)
    if events is not None:
        told = _export_events(chosen, run, events, *_table_file(run, events, format, out))
    elif format is not None:
        raise InputError("--format", format, "give --events as well: only tables have a choice")
    else:
        told = _export_folder(chosen, run, out or Path(f"run-{run}"))
    if json_:
        emit(told)
    else:
        table_of(told)


def _table_file(run: int, events: str, kind: str | None, out: Path | None) -> tuple[str, Path]:
    """(format, file): each told by the other where it is not given."""
    from runs.formats import FORMATS

    if kind is None:
        suffix = out.suffix[1:] if out else ""
        kind = suffix if suffix in FORMATS else "csv"
    if kind not in FORMATS:
        raise InputError("--format", kind, f"use one of {', '.join(FORMATS)}")
    return kind, out or Path(f"run-{run}-{events}.{kind}")


def _export_events(chosen: Settings, run: int, events: str, kind: str, file: Path) -> dict[str, Any]:
    from runs.export_events import export_events

    with using_stack(chosen, store=False) as stack, progress() as bar:
        task = bar.add_task(f"run {run}", total=None, detail=events)
        count = export_events(
            stack.bootstrap, stack.namespace, run, events, kind, file,
            lambda read, total: bar.update(task, completed=read, total=total),
        )  # fmt: skip
    return {"run": run, "events": events, "format": kind, "file": str(file.absolute()), "records": count}


def _export_folder(chosen: Settings, run: int, folder: Path) -> dict[str, Any]:
    from runs.export import export_run
    from runs.log import find_run

    with using_stack(chosen, store=False) as stack:
        info = find_run(stack.bootstrap, stack.namespace, run)
        counts = export_run(stack.bootstrap, stack.namespace, info, folder)
    return {"run": run, "folder": str(folder.absolute()), "records": counts}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(schemas_app, name="schemas")
    for command in (report, export):
        app.command()(command)

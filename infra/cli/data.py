"""escape schemas, report, export, import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from economy.errors import InputError
from infra.cli.common import (
    Json,
    Namespace,
    State,
    Trust,
    emit,
    guarded,
    models_of,
    out,
    settings,
    shown,
    tell,
    telling,
    tracked,
    using_stack,
)
from infra.settings import Settings
from schemas.files import is_stream

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
    out: Annotated[
        Path | None, typer.Option(help="File to write; - is stdout.", show_default="reports/ of the state")
    ] = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Write one self-contained HTML page about a run and print its path."""
    to = telling(out)
    with using_stack(settings(state, namespace)) as stack:
        path = report_of(stack, run, out)
    if json_:
        emit({"run": run, "report": shown(path)}, to)
    else:
        print(shown(path), file=to)


@guarded
def export(
    run: RunId,
    file: Annotated[
        Path | None, typer.Argument(help="File for the whole run, to import elsewhere.", show_default=False)
    ] = None,
    events: Annotated[
        str | None, typer.Option(help="One kind of event as a table, such as TradeExecuted; see `escape schemas list`.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Of the table: csv, parquet or avro.", show_default="by --out, else csv")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File of the table (- is stdout), or folder.", show_default="run-RUN…")
    ] = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Write a run's records into files.

    With FILE, the whole run as one Avro file that `escape import` brings into another log, where it is the same run
    with the same digest. Its name ends in .avro; what is no file (a device, a pipe, -) is written into. With
    --events, all events of one kind as a table (CSV, Parquet or Avro), in order, without repeats, prices and quantities
    as decimals. Otherwise a folder with an Avro file per topic and run.json.
    """
    chosen = settings(state, namespace)
    to = telling(file or out)
    if file is not None:
        if file.suffix != ".avro" and not is_stream(file):
            raise InputError("file", str(file), "end its name in .avro; for a table give --events and --out")
        for option, value in (("--events", events), ("--format", format), ("--out", out)):
            if value is not None:
                raise InputError(option, str(value), f"leave it out, or {file}: they are different exports")
        told = _export_file(chosen, run, file)
    elif events is not None:
        told = _export_events(chosen, run, events, *_table_file(run, events, format, out))
    elif format is not None:
        raise InputError("--format", format, "give --events as well: only tables have a choice")
    elif to is sys.stderr:
        raise InputError("--out", str(out), "give a folder; one kind of event (--events) can go to standard output")
    else:
        told = _export_folder(chosen, run, out or Path(f"run-{run}"))
    tell(told, json_, to)


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

    with using_stack(chosen, store=False) as stack, tracked(f"run {run}", events) as advance:
        count = export_events(
            stack.bootstrap, stack.namespace, run, events, kind, file,
            advance,
        )  # fmt: skip
    return {"run": run, "events": events, "format": kind, "file": shown(file), "records": count}


def _export_file(chosen: Settings, run: int, file: Path) -> dict[str, Any]:
    from runs.portable import export_file

    with using_stack(chosen, store=False) as stack, tracked(f"run {run}") as advance:
        manifest = export_file(
            stack.bootstrap, stack.namespace, run, file,
            advance,
        )  # fmt: skip
    counts = {family: sum(found) for family, found in manifest.records.items()}
    told = {"run": run, "state": manifest.state, "digest": manifest.digest, "root": manifest.root}
    size = file.stat().st_size if file.is_file() else None  # of what went into a pipe nothing is left
    return told | {"file": shown(file), "bytes": size, "records": counts}


@guarded
def import_run(
    file: Annotated[Path, typer.Argument(help="What `escape export RUN FILE.avro` wrote.")],
    trust: Trust = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="The log only: no ClickHouse, no projection.")] = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Bring an exported run into this log, where it is the same run with the same digest.

    The file is checked as a whole before anything is written, and what was written is read back before the run is
    listed. A run that is there already, equal in every record, is left as it is.
    """
    from infra.stored import wait_until_stored
    from runs.container import Container
    from runs.importing import import_file

    chosen = settings(state, namespace)
    container = Container(file)
    with using_stack(chosen, store=not no_store) as stack:
        with tracked(file.name) as advance:
            done = import_file(
                stack.bootstrap, stack.namespace, chosen.partitions, chosen.flow_partitions, container,
                models_of(chosen, trust), advance,
            )  # fmt: skip
        if container.manifest.state == "finished":
            wait_until_stored(stack, done.run)
    told = {"run": done.run, "digest": done.digest, "records": done.records, "known": done.known}
    tell(told, json_)


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
    app.command("import")(import_run)

"""escape job: list, or one of the jobs over a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from economy.errors import InputError
from economy.measures import LOTS, MEASURE
from economy.numbers.decimals import RAW
from infra.cli.common import Json, Namespace, State, emit, guarded, out, progress, settings, using_stack

if TYPE_CHECKING:  # Spark is imported by those who need it
    from jobs.config import JobConfig
    from jobs.main import OnProgress, Outcome

_LIST = "list"
_NUMBER = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?")


@guarded
def job(
    name: Annotated[str, typer.Argument(help="Name of a job, or `list`.")],
    run: Annotated[int | None, typer.Option(help="Run id, see `escape runs list`.")] = None,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Read only what is new on the log; the run may still go on.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(help="An exported run (FILE.avro) instead of --run; needs no stack."),
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Compute only: publish nothing to ClickHouse.")] = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Compute a run's figures from its log with Spark, and publish them; `escape job list` names the jobs."""
    from jobs.registry import JOBS, job_of

    if name == _LIST:
        known = [each.to_json() for each in JOBS.values()]
        if json_:
            emit(known)
        else:
            out.print(table_of_rows(known))
        return
    job_of(name)  # a wrong name is told before anything is started
    if (run is None) == (file is None):
        raise InputError("--run", run, "give the id of a run (`escape runs list` shows them), or --file FILE.avro")
    if file is not None and incremental:
        raise InputError("--incremental", str(file), "a file does not grow: leave it out")
    from infra.spark import file_config, is_small, job_config
    from jobs.main import run_jobs, run_on_file
    from jobs.session import spark_session
    from runs.container import Container
    from runs.log import find_run

    chosen = settings(state, namespace)

    def computed(config: JobConfig, compute: Callable[[OnProgress, Any], list[Outcome]]) -> Outcome:
        with progress() as bar:
            task = bar.add_task(name, total=None, detail="starting Spark")
            with spark_session(config, f"escape-{name}") as spark:
                (found,) = compute(
                    lambda what, done, of: bar.update(task, detail=what, completed=done, total=of), spark
                )
            return found

    if file is not None:
        container = Container(file)  # another file is refused before Spark is started
        config = file_config(chosen, file.stat().st_size)
        outcome = computed(config, lambda told, spark: run_on_file([name], config, str(container.path), told, spark))
    else:
        assert run is not None
        number = run
        with using_stack(chosen, store=not no_store) as stack:
            find_run(stack.bootstrap, stack.namespace, number)
            landed = str(stack.folder / "spark" / "incremental" / stack.namespace) if incremental else ""
            of_stack = job_config(chosen, stack, is_small(stack, number))
            outcome = computed(of_stack, lambda told, spark: run_jobs([name], of_stack, number, told, spark, landed))
    told = outcome.to_json()
    if json_:
        emit(told)
    else:
        if told["shown"]:
            out.print(table_of_rows([_for_people(row) for row in told["shown"]]))
        where = f"published to {told['table']}" if told["published"] else "not published"
        print(f"{name}: {told['rows']} rows, {where}")
    outcome.check()


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the integers; thousands are separated in the value of an indicator that is money or a share."""
    shown = {name: value for name, value in row.items() if not name.endswith(RAW)}
    measure = MEASURE.get(row.get("indicator", ""))
    if measure is None or "value" not in row or measure.unit == LOTS:
        return shown
    return shown | {"value": measure.text(int(row[f"value{RAW}"]))}


def table_of_rows(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows for people: numbers to the right."""
    table = Table(box=None, pad_edge=False)
    for column, value in rows[0].items():
        numeric = isinstance(value, int) or (isinstance(value, str) and _NUMBER.fullmatch(value) is not None)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(job)

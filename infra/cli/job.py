"""escape job."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from infra.cli.common import Json, Namespace, State, emit, guarded, progress, settings, using_stack


@guarded
def job(
    name: Annotated[str, typer.Argument(help="Job: gdp or gini.")],
    run: Annotated[int, typer.Option(help="Run id, see `escape runs list`.")],
    no_store: Annotated[bool, typer.Option("--no-store", help="Compute only: publish nothing to ClickHouse.")] = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Compute a finished run's figures from its log with Spark, and publish them."""
    from infra.spark import job_config
    from jobs.main import job_of, run_jobs
    from jobs.session import spark_session
    from runs.log import find_run

    chosen = settings(state, namespace)
    job_of(name)  # a wrong name is told before anything is started
    with using_stack(chosen, store=not no_store) as stack:
        find_run(stack.bootstrap, stack.namespace, run)
        with progress() as bar:
            task = bar.add_task(name, total=None, detail="")
            config = job_config(chosen, stack)
            bar.update(task, detail="starting Spark")
            with spark_session(config, f"escape-{name}") as spark:
                figures = run_jobs(
                    [name], config, run,
                    lambda what, done, of: bar.update(task, detail=what, completed=done, total=of), spark,
                )  # fmt: skip
    told: list[dict[str, Any]] = [figure.to_json() for figure in figures]
    if json_:
        emit(told)
        return
    for row in told:
        print(f"{row['window']:>6} {row['indicator']:<26} {row['item']:>4} {row['value']:>30}")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(job)

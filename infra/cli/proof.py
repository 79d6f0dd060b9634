"""escape verify: the log of a run as its own proof."""

from __future__ import annotations

from typing import Annotated

import typer

from economy.errors import ProtocolError
from infra.cli.common import Json, Namespace, State, emit, err, guarded, progress, settings, table_of, using_stack

RunId = Annotated[int, typer.Argument(help="Run id, see `escape runs list`.")]
_SHOWN = 20  # findings that people are shown; --json has all


@guarded
def verify(
    run: RunId,
    expect: Annotated[str, typer.Option(help="Root that was printed when the run ended.")] = "",
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Check that a run's log is whole: no record changed, missing, foreign or reordered. Exit code 4 where one is."""
    from runs.verify import verify_run

    with using_stack(settings(state, namespace), store=False) as stack, progress() as bar:
        task = bar.add_task("verifying", total=None, detail="records")
        verdict = verify_run(
            stack.bootstrap, stack.namespace, run, expect,
            lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    told = verdict.to_json()
    if json_:
        emit(told)
    else:
        for finding in verdict.findings[:_SHOWN]:
            err.print(str(finding), style="red", markup=False, highlight=False, soft_wrap=True)
        table_of(told | {"findings": len(verdict.findings)})
    if not verdict.sound:
        first = f"the first of {len(verdict.findings)} faults is {verdict.findings[0]}"
        raise ProtocolError(f"the log of run {run} is damaged", first)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(verify)

"""escape accounts: the balance sheet and the flows of a window, every row and column summing to zero."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.cli.common import Json, Namespace, State, emit, guarded, settings, using_stack


@guarded
def accounts(
    run: Annotated[int, typer.Argument(help="Run id, see `escape runs list`.")],
    window: Annotated[
        int | None, typer.Option(min=0, help="Window (quarter), from 0.", show_default="the newest closed one")
    ] = None,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Rebuild a window's national accounts from the log and show both matrices."""
    from runs.accounts import read_accounts, read_scales, render, to_json
    from runs.log import find_run

    with using_stack(settings(state, namespace), store=False) as stack:
        info = find_run(stack.bootstrap, stack.namespace, run)
        found = read_accounts(stack.bootstrap, stack.namespace, info, window)
        scales = read_scales(stack.bootstrap, stack.namespace, info)
    if json_:
        emit(to_json(found, scales))
    else:
        print(render(found))


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(accounts)

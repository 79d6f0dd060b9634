"""escape up, down, status, doctor, settings, prepare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from infra.cli.common import Json, Namespace, State, emit, err, guarded, out, settings, tell, using_stack

if TYPE_CHECKING:
    from schemas.clickhouse_server import ClickHouseConfig


@guarded
def up(state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Start the stack (broker, Faust workers, ClickHouse) and leave it running."""
    from infra import stack as stacks

    with err.status("starting the stack"):
        described = stacks.up(settings(state, namespace))
    if json_:
        emit(described)
    else:
        print(f"broker {described['bootstrap']}, logs in {described['logs']}; stop it with `escape down`")


@guarded
def down(state: State = None, json_: Json = False) -> None:
    """Stop the stack that `escape up` started."""
    from infra import stack as stacks

    stopped = stacks.down(settings(state))
    if json_:
        emit({"stopped": stopped})
    else:
        print("stopped" if stopped else "nothing was running")


@guarded
def status(state: State = None, json_: Json = False) -> None:
    """Show what runs. Exit code 1 when nothing does."""
    from infra import stack as stacks

    described = stacks.running(settings(state))
    if json_:
        emit(described or {"pid": None})
    elif described is None:
        print("nothing is running; `escape up` starts the stack")
    else:
        table = Table("component", "pid", "running", "restarts")
        table.add_row("broker", str(described["broker"]["pid"] or ""), described["bootstrap"], "")
        for name, child in described["processes"].items():
            table.add_row(name, str(child["pid"]), _state(child), str(child["restarts"]))
        out.print(table)
        for name, child in described["processes"].items():
            if why := child.get("failed") or (child.get("ill") and f"{name}: {child['ill']}"):
                err.print(why, style="red", markup=False, highlight=False, soft_wrap=True)
    if described is None:
        raise typer.Exit(1)


def _state(child: dict[str, Any]) -> str:
    return "fails" if child.get("failed") else "ill" if child.get("ill") else "yes" if child["running"] else "no"


@guarded
def doctor(
    state: State = None,
    json_: Json = False,
    quiet: Annotated[bool, typer.Option(help="Say only what is wrong.")] = False,
) -> None:
    """Say what is missing on this machine and how to get it. Exit code 3 when something is."""
    from infra import doctor as examination

    chosen = settings(state)
    with err.status("looking at this machine"):
        checks = examination.examine(chosen)
    if json_:
        emit([check.__dict__ for check in checks])
    else:
        for check in checks:
            if check.ok and not quiet:
                print(f"ok       {check.name:8s} {check.message}")
            elif not check.ok:
                print(f"MISSING  {check.name:8s} {check.message}: {check.remedy}")
    if not all(check.ok for check in checks):
        raise typer.Exit(3)


@guarded
def show_settings(json_: Json = False) -> None:
    """List every setting: its value, where that is from, and what it is."""
    from infra.settings import told

    listed = told(settings())
    if json_:
        emit(listed)
        return
    table = Table("setting", "value", "from", "what it is")
    for one in listed:
        table.add_row(one["setting"], one["value"], one["from"], one["description"])
    out.print(table)
    print("Each is given by ESCAPE_ and its name in capitals, or by its name in escape.toml.")


@guarded
def prepare(state: State = None, namespace: Namespace = None, json_: Json = False) -> None:
    """Create the topics and tables that are missing; for deployments whose servers run elsewhere."""
    with using_stack(settings(state, namespace)) as stack:
        told = {"bootstrap": stack.bootstrap, "namespace": stack.namespace, "clickhouse": _url(stack.tables)}
    tell(told, json_)


def _url(tables: ClickHouseConfig | None) -> str | None:
    return tables.url if tables else None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, down, status, doctor, prepare):
        app.command()(command)
    app.command("settings")(show_settings)

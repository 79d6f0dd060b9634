"""escape serve, query."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from economy.errors import EscapeError, InputError
from infra.cli.common import Namespace, State, emit, err, guarded, settings, using_stack

if TYPE_CHECKING:
    from infra.stack import Attached, Stack

_LOOK_SECONDS = 0.2  # between looks at the server


class QueryError(EscapeError):
    """The answer to a query holds errors."""


def serve_stack(
    stack: Stack | Attached,
    port: int,
    host: str = "127.0.0.1",
    production: bool = False,
    hosts: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    workers: int | None = None,
    proxies: tuple[str, ...] = (),
) -> None:
    """Serve GraphQL, GraphiQL and the reports over a stack's tables until SIGINT or SIGTERM.

    The server is a supervised child that inherits the listening socket: while it is started again after a crash,
    clients wait instead of being refused.
    """
    from infra.components import api
    from infra.supervisor import Registry, Supervisor, check
    from queries.places import ConnectionLimits
    from queries.server import listen

    ConnectionLimits(proxies=proxies)  # what is no address is refused here, in one line
    assert stack.reader is not None
    bound = listen(host, port)
    stopping = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: stopping.set())
    supervisor = Supervisor(stack.logs, Registry(stack.folder))
    try:
        child = api(stack.settings, stack.reader, bound.fileno(), production, hosts, origins, workers, proxies)
        supervisor.spawn(child.name, child.command, child.environment, [bound.fileno()])
        address = "http://{}:{}".format(*bound.getsockname()[:2])
        print(json.dumps({"url": address, "pid": os.getpid()}), flush=True)
        page = "GraphQL {}/graphql" if production else "GraphiQL {}/graphiql"
        err.print(f"{page.format(address)}, reports {address}/, end with Ctrl-C", highlight=False)
        while not stopping.wait(_LOOK_SECONDS):
            check(supervisor.status(), stack.logs)
    finally:
        supervisor.stop()
        bound.close()
        for number, handler in before.items():
            signal.signal(number, handler)


@guarded
def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 = free.", show_default="settings")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any other than 127.0.0.1 is open.")] = "127.0.0.1",
    production: Annotated[
        bool | None,
        typer.Option("--production/--no-production", help="No introspection, no GraphiQL.", show_default="settings"),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Further host name that clients may use.", show_default="settings")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Further origin that pages may ask from.", show_default="settings")
    ] = None,
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy in front, for many clients.", show_default="settings"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that execute queries; 0 = the server itself.", show_default="cores"),
    ] = None,
    state: State = None,
    namespace: Namespace = None,
) -> None:
    """Serve GraphQL, GraphiQL and the reports until Ctrl-C. Prints {"url", "pid"} on stdout."""
    several = {"allow_host": allow_host, "allow_origin": allow_origin, "trust_proxy": trust_proxy}
    names = {name: tuple(given) if given else None for name, given in several.items()}
    chosen = settings(state, namespace, api_port=port, production=production, **names)
    with using_stack(chosen) as stack:
        serve_stack(
            stack, chosen.api_port, host, chosen.production, chosen.allow_host, chosen.allow_origin, workers,
            chosen.trust_proxy,
        )  # fmt: skip


@guarded
def query(
    text: Annotated[str, typer.Argument(help="GraphQL text, @FILE, or - for standard input.")],
    variables: Annotated[str, typer.Option(help="Variables as a JSON object.")] = "{}",
    state: State = None,
    namespace: Namespace = None,
) -> None:
    """Answer a GraphQL query as JSON on stdout. Exit code 1 when the answer holds errors."""
    asked = _text(text)
    try:
        given = json.loads(variables)
    except ValueError as error:
        raise InputError("--variables", variables, "write a JSON object") from error
    if not isinstance(given, dict):
        raise InputError("--variables", variables, "write a JSON object")
    with using_stack(settings(state, namespace)) as stack:
        answer = asyncio.run(_answer(stack, asked, given))
    emit(answer)
    if answer.get("errors"):
        raise QueryError(answer["errors"][0]["message"], "`escape serve` offers GraphiQL, which helps writing queries")


async def _answer(stack: Stack | Attached, text: str, variables: dict[str, Any]) -> dict[str, Any]:
    from queries.engine import Asked, Engine, EngineConfig
    from queries.reader import connect

    answer = await Engine(EngineConfig(), connect(stack.reader)).answer(Asked(text, variables, None))
    told: dict[str, Any] = json.loads(answer.body)
    return told


def _text(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except OSError as error:
        raise InputError("query", text, f"the file cannot be read: {error.strerror}") from error


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (serve, query):
        app.command()(command)

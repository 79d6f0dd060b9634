"""What keeps a request small, and what a client learns of an error."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from graphql import GraphQLError, NoSchemaIntrospectionCustomRule
from strawberry.extensions import (
    AddValidationRules,
    MaxAliasesLimiter,
    MaxTokensLimiter,
    QueryDepthLimiter,
    SchemaExtension,
)

from economy.errors import EscapeError, InputError, SetupError

log = logging.getLogger("escape.queries")

DEPTH: Final = 12
ALIASES: Final = 30
TOKENS: Final = 2_000
BODY_BYTES: Final = 100_000
ROWS: Final = 10_000  # of all lists of one request
SECONDS: Final = 30.0


class RefusedError(EscapeError):
    """The server does not go on with what a client asks for; the client is told why."""


def public_error(error: GraphQLError) -> GraphQLError:
    """What the client may read: its own mistakes in words, all else as an id that stands in the log with the cause."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if cause is None or isinstance(cause, GraphQLError):  # syntax, validation, limits
        return error
    if isinstance(cause, InputError | RefusedError):
        code = {"code": "REFUSED"} if isinstance(cause, RefusedError) else {"code": "BAD_INPUT", "field": cause.field}
        extensions: dict[str, object] = {**code}
        return GraphQLError(str(cause), error.nodes, error.source, error.positions, error.path, None, extensions)
    number = uuid.uuid4().hex[:12]
    log.error("error %s at %s", number, error.path, exc_info=(type(cause), cause, cause.__traceback__))
    unreachable = isinstance(cause, SetupError)
    message = "the tables cannot be reached" if unreachable else "internal error"
    extensions = {"code": "UNAVAILABLE" if unreachable else "INTERNAL", "id": number}
    return GraphQLError(
        f"{message}; its cause is in the server's log under {number}",
        error.nodes, error.source, error.positions, error.path, None, extensions,
    )  # fmt: skip


class PublicErrors(SchemaExtension):
    """Replaces the errors of a finished operation by what the client may read."""

    def on_operation(self) -> Iterator[None]:
        yield
        result = self.execution_context.result
        if result is not None and result.errors:
            result.errors = [public_error(error) for error in result.errors]


def extensions(introspection: bool) -> list[Callable[[], SchemaExtension]]:
    """The schema's extensions; without introspection the schema cannot be asked for."""
    found: list[Callable[[], SchemaExtension]] = [
        lambda: MaxTokensLimiter(TOKENS),
        lambda: QueryDepthLimiter(DEPTH),
        lambda: MaxAliasesLimiter(ALIASES),
        PublicErrors,
    ]
    if not introspection:
        found.append(lambda: AddValidationRules([NoSchemaIntrospectionCustomRule]))
    return found

"""What keeps a request small, and what a client learns of an error."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    get_operation_ast,
    specified_rules,
)
from strawberry.extensions import MaxTokensLimiter, SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError

from economy.errors import EscapeError, InputError, SetupError
from queries.cost import COST, SizeRule, cost
from queries.memory import Bounded
from queries.texts import SoundTexts, unsound_variable
from queries.validation import together

log = logging.getLogger("escape.queries")

TOKENS: Final = 2_000
BODY_BYTES: Final = 100_000
ROWS: Final = 10_000  # of all lists of one request
SECONDS: Final = 30.0

DOCUMENTS: Final = 500  # texts whose parsed form is remembered
DOCUMENT_BYTES: Final = 32 << 20
NODE_BYTES: Final = 100  # estimated bytes of a parsed text per character of it


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


class Cost(SchemaExtension):
    """Refuses what would fill too many fields, before anything is read; what is read then is what is asked for."""

    def on_execute(self) -> Iterator[None]:
        asked = self.execution_context
        if asked.graphql_document is not None:
            schema = asked.schema._schema
            found, fields = cost(schema, asked.graphql_document, asked.operation_name, asked.variables)
            if found > COST:
                told = f"this query may fill {found} fields, more than {COST}: ask for fewer records or fields"
                error = GraphQLError(told, extensions={"code": "TOO_COSTLY"})
                asked.result = ExecutionResult(data=None, errors=[error])
            elif asked.context.alone:
                asked.context.loaders.asked = fields
        yield


class Documents(SchemaExtension):
    """Parses and checks a text once: what is found is remembered, bounded, for all requests with the same text."""

    def __init__(
        self, known: Bounded[str, tuple[DocumentNode, list[GraphQLError]]], rule: type[ASTValidationRule]
    ) -> None:
        super().__init__()
        self._known = known
        self._rule = rule

    def on_operation(self) -> Iterator[None]:
        self.execution_context.validation_rules = (self._rule,)
        yield

    def on_parse(self) -> Iterator[None]:
        found = self._known.get(self.execution_context.query or "")
        asked = self.execution_context
        if found is not None:
            asked.graphql_document = found[0]
        yield
        # The library takes the first of several operations: which one is meant, only the client can tell.
        document = asked.graphql_document
        if document is not None and asked._provided_operation_name is None and get_operation_ast(document) is None:
            raise CannotGetOperationTypeError(None)

    def on_validate(self) -> Iterator[None]:
        asked = self.execution_context
        found = self._known.get(asked.query or "")
        if found is not None:
            asked.pre_execution_errors = found[1]
        assert asked.graphql_document is not None
        unsound = unsound_variable(asked.variables, asked.graphql_document)
        if unsound is not None:
            asked.pre_execution_errors = [unsound]
            yield
            return
        yield
        if found is None:
            errors = list(asked.pre_execution_errors or ())
            text = asked.query or ""
            self._known.put(text, (asked.graphql_document, errors), NODE_BYTES * (1 + len(text)))


def extensions(introspection: bool) -> list[Callable[[], SchemaExtension]]:
    """The schema's extensions; without introspection the schema cannot be asked for."""
    known: Bounded[str, tuple[DocumentNode, list[GraphQLError]]] = Bounded(DOCUMENTS, DOCUMENT_BYTES)
    rules: list[type[ASTValidationRule]] = [*specified_rules, SizeRule, SoundTexts]
    if not introspection:
        rules.append(NoSchemaIntrospectionCustomRule)
    rule = together(rules)
    return [
        lambda: MaxTokensLimiter(TOKENS),
        lambda: Documents(known, rule),
        Cost,
        PublicErrors,
    ]

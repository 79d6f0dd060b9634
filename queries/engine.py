"""The execution of GraphQL operations over the tables, with what is remembered between them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from queries.cache import Fingerprint, Fingerprints
from queries.copies import OFTEN, Copies
from queries.limits import SECONDS
from queries.loaders import Loaders, fingerprint
from queries.memory import Memory
from queries.paging import Context
from queries.policy import EVERYTHING, Scope
from queries.reader import Reader
from queries.schema import build_schema
from schemas.clickhouse_server import ClickHouseConfig

_QUERIES: Final = (OperationType.QUERY,)


@dataclass(frozen=True)
class EngineConfig:
    """Settings of the execution. `production` turns introspection off."""

    clickhouse: ClickHouseConfig | None = None
    production: bool = False
    memory_bytes: int = 128 << 20  # figures, agents, instruments and books
    copies: Path | None = None  # folder for copies of records
    copies_bytes: int = 4 << 30
    copies_after: int = OFTEN  # statements about one table of a run


@dataclass(frozen=True)
class Asked:
    """One operation, and what whoever asks may see."""

    query: str
    variables: dict[str, Any] | None
    operation: str | None
    scope: Scope = EVERYTHING


@dataclass(frozen=True)
class Answer:
    """Status and body of HTTP, and the runs that the body depends on: none where it may change by itself."""

    status: int
    body: bytes
    data: bool = True  # whether it was executed: else there are errors alone
    runs: Mapping[int, Fingerprint] = field(default_factory=dict)


def refusal(status: int, message: str) -> Answer:
    """An answer that is one error."""
    return Answer(status, json.dumps({"errors": [{"message": message}]}).encode(), data=False)


class Engine:
    """Executes operations in this process."""

    def __init__(self, config: EngineConfig, reader: Reader) -> None:
        self.schema = build_schema(introspection=not config.production)
        self.reader = reader
        self.fingerprints = Fingerprints(lambda run: fingerprint(reader, run))
        self.copies = Copies(reader, config.copies, config.copies_bytes, config.copies_after)
        self._memory = Memory(config.memory_bytes)

    def context(self, scope: Scope = EVERYTHING, alone: bool = False, live: Any = None) -> Context:
        """A context for one operation `alone`, or for all of a websocket."""
        loaders = Loaders(self.reader, self._memory, scope, self.copies)
        return Context(loaders, self.fingerprints.of, live=live, alone=alone)

    async def answer(self, asked: Asked) -> Answer:
        """The answer to a query; what cannot be answered is told in it."""
        context = self.context(asked.scope, alone=True)
        try:
            async with asyncio.timeout(SECONDS):
                result = await self.schema.execute(
                    asked.query,
                    asked.variables,
                    context,
                    operation_name=asked.operation,
                    allowed_operation_types=_QUERIES,
                )
        except TimeoutError:
            return too_long()
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.MUTATION:
                return refusal(400, "there are no mutations: send a query")
            return refusal(400, "subscriptions are served by websocket, protocol graphql-transport-ws")
        except (MissingQueryError, CannotGetOperationTypeError):
            return refusal(400, "send one query, and its name as operationName where the text has several")
        except GraphQLError as error:
            return refusal(400, error.message)
        # An error that has no place in the answer kept all of it from being executed.
        executed = result.data is not None or not result.errors or any(error.path for error in result.errors)
        told: dict[str, Any] = {"data": result.data} if executed else {}
        if result.errors:
            told["errors"] = [error.formatted for error in result.errors]
        body = json.dumps(told, separators=(",", ":")).encode()
        # A fingerprint's row is for the resolvers alone.
        runs = {run: Fingerprint(known.state, known.digest, known.computed) for run, known in context.runs.items()}
        return Answer(200, body, executed, {} if result.errors or context.volatile else runs)

    def report(self) -> dict[str, int]:
        """What this process keeps."""
        return {"pid": os.getpid(), **self.copies.report()}


def too_long() -> Answer:
    """The answer when there is none in time."""
    return refusal(504, f"no answer within {SECONDS:.0f} seconds: ask for less")

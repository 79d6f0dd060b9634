"""The GraphQL schema: queries and subscriptions over the tables of runs.

`python -m queries.schema` prints it; the committed copy is queries/schema.graphql, and a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from economy.errors import UnknownRunError
from queries.cache import Fingerprint
from queries.execution import PlainExecutor
from queries.limits import extensions
from queries.live import Subscription
from queries.loaders import RUN_COLUMNS
from queries.paging import Connection, Info, connect, decode_cursor, page_size
from queries.records import Row
from queries.types import CATALOGUE, SCALARS, BigInt, Measure, resolver
from queries.types_compare import Comparison
from queries.types_run import Run

_HINT: Final = " Did you mean "  # as graphql-core begins each
PRINTED: Final = Path(__file__).parent / "schema.graphql"


async def _fingerprint(info: Info, run: int) -> Fingerprint:
    """A run as it is before anything else of it is read: an answer counts only while it stays so."""
    known = await info.context.fingerprint(run)
    if known is None:
        raise UnknownRunError("run", run, "choose one from runs { nodes { id } }")
    info.context.runs[run] = known
    return known


@strawberry.type(description="Runs of simulated economies and of exchange tapes, their figures and their records.")
class Query:
    """The root of all queries."""

    @resolver("Runs, the newest first")
    async def runs(self, info: Info, first: int = 20, after: str | None = None) -> Connection[Run]:
        size = page_size(info, first)
        info.context.volatile = True
        older, parameters = "", {"limit": size + 1}
        if after is not None:
            older, parameters["after"] = "WHERE run < {after:Int64} ", decode_cursor(after, 1)[0]
        rows: list[Row] = await info.context.loaders.rows(
            f"SELECT {RUN_COLUMNS} FROM runs FINAL {older}ORDER BY run DESC LIMIT {{limit:UInt32}}", **parameters
        )
        return connect(rows, size, after, ("run",), Run.of)

    @resolver("One run; an error when there is none with this id")
    async def run(self, info: Info, id: BigInt) -> Run | None:
        return Run.of((await _fingerprint(info, int(id))).row)

    @resolver("Two runs beside each other, as a fork and its parent")
    async def compare(self, info: Info, a: BigInt, b: BigInt) -> Comparison | None:
        one, other = await _fingerprint(info, int(a)), await _fingerprint(info, int(b))
        return Comparison(a=Run.of(one.row), b=Run.of(other.row), prints=(one, other))

    @resolver("The catalogue of indicators with their units")
    def measures(self) -> list[Measure]:
        return list(CATALOGUE.values())


class _Schema(strawberry.Schema):
    """A schema whose errors are logged once, by queries.limits, and only those that are ours."""

    @staticmethod
    def remove_field_suggestion(error: GraphQLError) -> None:
        """The library takes hints from errors of fields alone; those of arguments, types, enums and all else go too."""
        error.message = error.message.partition(_HINT)[0]

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        return


def build_schema(introspection: bool = True) -> strawberry.Schema:
    """The schema with its limits."""
    scalars: Mapping[object, Any] = SCALARS
    return _Schema(
        query=Query,
        subscription=Subscription,
        extensions=extensions(introspection),
        execution_context_class=PlainExecutor,
        config=StrawberryConfig(scalar_map=scalars, disable_field_suggestions=not introspection),
    )


def printed() -> str:
    """The schema's text as committed."""
    return f"{build_schema().as_str()}\n"


if __name__ == "__main__":
    sys.stdout.write(printed())

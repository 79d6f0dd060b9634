"""Execution of GraphQL with a short way for plain values and for look-ups of records.

graphql-core resolves, checks and awaits every field by itself: some 20 microseconds each, of which a page of accounts
has thousands, and more where each of them waits. A selection below which resolvers only read is turned into one
function here, once a request, and called for every object; what resolvers promise is awaited for all objects together.
All else goes the library's way, which also decides what is selected and, where anything fails, which field it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    get_argument_values,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField
from strawberry.types.info import Info
from strawberry.utils.str_converters import to_camel_case

from queries.lookups import Promise

Complete = Callable[[Any], Any]
Get = Callable[[Any], Any]
_PLAIN: Final = (int, str, type(None))  # values that strawberry hands on as they are
# Nothing to check once the type is right.
_SAME: Final[dict[str, type]] = {"String": str, "Boolean": bool, "Decimal": str}


class PlainExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[tuple[int, int], tuple[Any, Any, Complete | None]] = {}
        self._promised: list[_Waiting] = []  # by the functions that were called since it was last taken
        self._raw: Any = None  # some place of the operation: resolvers on the short way ask for the context alone

    def complete_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        """As the library's, at once where the value is plain."""
        rest = (return_type, field_details_list, info, path, result, position_context)
        plan = None
        if result is not None and not isinstance(result, Exception):
            plan = self._plan(return_type, field_details_list)
        if plan is None:
            return super().complete_value(*rest)
        self._raw = info
        try:
            value = plan(result)
        except Exception:  # whatever a resolver raised: the library finds out where, and goes on beside it
            self._forget(self._taken())
            return super().complete_value(*rest)
        promised = self._taken()
        return self._kept(value, promised, rest) if promised else value

    async def _kept(self, value: Any, promised: list[_Waiting], rest: tuple[Any, ...]) -> Any:
        """The value once all that was promised is filled in, and what that promised in turn."""
        try:
            while promised:
                batches = {waiting.promise.batch.reading for waiting in promised}
                done, _ = await asyncio.wait(batches, return_when=asyncio.FIRST_COMPLETED)
                for into, name, promise, complete in promised:
                    if promise.batch.reading in done:
                        into[name] = complete(promise.result())
                promised = [waiting for waiting in promised if waiting.promise.batch.reading not in done]
                promised += self._taken()
        except Exception:  # as above
            self._forget(promised + self._taken())
            again = super().complete_value(*rest)
            return await again if self.is_awaitable(again) else again
        return value

    def _taken(self) -> list[_Waiting]:
        taken, self._promised = self._promised, []
        return taken

    @staticmethod
    def _forget(promised: list[_Waiting]) -> None:
        """Let go of what is asked for again; that it failed is told once."""
        for batch in {waiting.promise.batch.reading for waiting in promised}:
            batch.add_done_callback(lambda reading: reading.cancelled() or reading.exception())

    def _plan(self, kind: GraphQLOutputType, details: Any) -> Complete | None:
        """The function for a type as it is selected; None when something below it is not plain."""
        key = (id(kind), id(details))
        known = self._plans.get(key)
        if known is None:
            # Type and selection are kept beside the plan: an id may be given out again once its object is gone.
            known = self._plans[key] = (kind, details, self._compile(kind, details))
        return known[2]

    def _compile(self, kind: Any, details: Any) -> Complete | None:
        if is_non_null_type(kind):
            inner = self._compile(kind.of_type, details)
            return None if inner is None else _present(inner, str(kind))
        if is_list_type(kind):
            inner = self._compile(kind.of_type, details)
            return None if inner is None else lambda values: None if values is None else [inner(v) for v in values]
        if is_leaf_type(kind):
            return _leaf(kind)
        return self._object(kind, details) if is_object_type(kind) else None

    def _object(self, kind: GraphQLObjectType, details: Any) -> Complete | None:
        selected = self.collect_subfields(kind, details)
        fields, deferred = selected[0], selected[1]
        if deferred or (kind.is_type_of is not None and kind.name.startswith("__")):
            return None
        parts: list[tuple[str, Get, Complete]] = []
        for name, of in fields.items():
            field = self.schema.get_field(kind, of[0].node.name.value)
            if field is None:
                return None
            if of[0].node.name.value == "__typename":
                parts.append((name, _constant(kind.name), _itself))
                continue
            get = self._getter(field, of[0].node)
            complete = None if get is None else self._plan(field.type, of)
            if get is None or complete is None:
                return None
            parts.append((name, get, complete))

        def completed(value: Any) -> Any:
            if value is None:
                return None
            found: dict[str, Any] = {}
            for name, get, complete in parts:
                got = get(value)
                if isinstance(got, Promise):
                    found[name] = None  # keeps the place: fields are answered in the order in which they were asked for
                    self._promised.append(_Waiting(found, name, got, complete))
                else:
                    found[name] = complete(got)
            return found

        return completed

    def _getter(self, field: GraphQLField, node: FieldNode) -> Get | None:
        """How a field is read: an attribute, or a method that takes numbers and texts and may promise a value."""
        own = field.extensions.get("strawberry-definition")
        if not isinstance(own, StrawberryField) or own.is_async or own.extensions:
            return None
        given = self._arguments(own, field, node) if own.arguments else {}
        if given is None:
            return None
        resolver = own.base_resolver
        if resolver is None:
            return attrgetter(own.python_name)
        method = resolver.wrapped_func
        if resolver.root_parameter is not None or not callable(method):
            return None
        if resolver.info_parameter is None:
            return partial(method, **given) if given else method
        info: Any = None

        def get(value: Any) -> Any:
            nonlocal info
            if info is None:
                info = Info(_raw_info=self._raw, _field=own)
            return method(value, info, **given)

        return get

    def _arguments(self, own: StrawberryField, field: GraphQLField, node: FieldNode) -> dict[str, Any] | None:
        """The values of a field's arguments, which are the same for every object; None when they are not plain."""
        try:
            values = get_argument_values(field, node, self.variable_values)
        except GraphQLError:
            return None  # told by the library
        names = {to_camel_case(argument.python_name): argument.python_name for argument in own.arguments}
        if not all(name in names and isinstance(value, _PLAIN) for name, value in values.items()):
            return None
        return {names[name]: value for name, value in values.items()}


class _Waiting(NamedTuple):
    """A value that is promised, and where it belongs."""

    into: dict[str, Any]
    name: str
    promise: Promise[Any]
    complete: Complete


def _leaf(kind: Any) -> Complete:
    convert = kind.coerce_output_value
    same = _SAME.get(kind.name)
    if same is None:
        return lambda value: None if value is None else convert(value)
    return lambda value: value if value is None or type(value) is same else convert(value)


def _present(inner: Complete, kind: str) -> Complete:
    def complete(value: Any) -> Any:
        completed = inner(value)
        if completed is None:
            raise TypeError(f"a value of type {kind} is missing")
        return completed

    return complete


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _itself(value: Any) -> Any:
    return value

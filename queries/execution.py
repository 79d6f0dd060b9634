"""Execution of GraphQL with a short way for plain values.

graphql-core resolves, checks and awaits every field by itself: some 20 microseconds each, of which a page of accounts
has thousands. A selection below which no resolver takes arguments, reads tables or waits is turned into one function
here, once a request, and called for every object. All else goes the library's way, which also decides what is selected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

Complete = Callable[[Any], Any]
_SAME: Final[dict[str, type]] = {"String": str, "Boolean": bool}  # nothing to check once the type is right


class PlainExecutor(StrawberryGraphQLCoreExecutionContext):
    """Executes one operation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plans: dict[tuple[int, int], tuple[Any, Any, Complete | None]] = {}

    def complete_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        """As the library's, at once where the value is plain."""
        if result is not None and not isinstance(result, Exception):
            plan = self._plan(return_type, field_details_list)
            if plan is not None:
                return plan(result)
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)

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
        parts: list[tuple[str, Callable[[Any], Any], Complete]] = []
        for name, of in fields.items():
            field = self.schema.get_field(kind, of[0].node.name.value)
            if field is None:
                return None
            if of[0].node.name.value == "__typename":
                parts.append((name, _constant(kind.name), _itself))
                continue
            get = _getter(field)
            complete = None if get is None else self._plan(field.type, of)
            if get is None or complete is None:
                return None
            parts.append((name, get, complete))
        return lambda value: None if value is None else {name: complete(get(value)) for name, get, complete in parts}


def _getter(field: GraphQLField) -> Callable[[Any], Any] | None:
    """How a plain field is read: an attribute, or a method that takes nothing and does not wait."""
    own = field.extensions.get("strawberry-definition")
    if not isinstance(own, StrawberryField) or own.is_async or own.arguments or own.extensions:
        return None
    resolver = own.base_resolver
    if resolver is None:
        name = own.python_name
        return lambda value: getattr(value, name)
    if resolver.info_parameter is not None or resolver.root_parameter is not None:
        return None
    method = resolver.wrapped_func
    return method if callable(method) else None


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

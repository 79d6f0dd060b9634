"""Texts that clients send: what no table can hold is refused, and the argument that it was meant for is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from graphql import (
    ArgumentNode,
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    StringValueNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)

from economy.errors import InputError

_REMEDY: Final = "a text may hold neither U+0000 nor half of a surrogate pair"
_SURROGATES: Final = range(0xD800, 0xE000)


def sound(text: str) -> bool:
    """Whether a text can be stored and sent as UTF-8 that every part of the system takes."""
    return (text.isascii() and "\0" not in text) or not any(ord(c) in _SURROGATES or c == "\0" for c in text)


def refused(field: str, text: str) -> GraphQLError:
    """The error for a text that is not sound."""
    told = InputError(field, text, _REMEDY)
    return GraphQLError(str(told), extensions={"code": "BAD_INPUT", "field": field})


class SoundTexts(ASTValidationRule):
    """Refuses texts in a query; half surrogates in one are errors of its syntax already."""

    def enter_string_value(self, node: StringValueNode, _key: Any, parent: Any, _path: Any, above: Any) -> None:
        """Called for every text."""
        if not sound(node.value):
            named = (
                one for one in (parent, *reversed(above)) if isinstance(one, ArgumentNode | VariableDefinitionNode)
            )
            error = refused(_name(next(named, None)), node.value)
            self.report_error(GraphQLError(error.message, node, extensions=error.extensions))


def _name(of: ArgumentNode | VariableDefinitionNode | None) -> str:
    if isinstance(of, VariableDefinitionNode):
        return f"${of.variable.name.value}"
    return "text" if of is None else of.name.value


def unsound_variable(variables: Mapping[str, Any] | None, document: DocumentNode) -> GraphQLError | None:
    """The error for the first variable that holds such a text, named by the argument that it is given to."""
    for name, value in (variables or {}).items():
        text = _unsound(value)
        if text is not None:
            return refused(_argument(document, name) or f"${name}", text)
    return None


def _unsound(value: Any) -> str | None:
    waiting = [value]  # JSON may be deeper than calls
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and not sound(one):
            return one
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return None


def _argument(document: DocumentNode, variable: str) -> str | None:
    """The first argument that a variable is given to."""
    found: list[str] = []

    class Uses(Visitor):
        def enter_variable(self, node: VariableNode, _key: Any, parent: Any, _path: Any, above: Any) -> None:
            if node.name.value == variable:
                found.extend(one.name.value for one in (parent, *reversed(above)) if isinstance(one, ArgumentNode))

    visit(document, Uses())
    return next(iter(found), None)

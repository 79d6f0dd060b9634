"""How large a query is, before it is run: its depth, which fields it asks for, and how many it may fill.

Both count a fragment once, however often it is spread: fragments that spread each other twice would take for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)

DEPTH: Final = 12
ALIASES: Final = 30
COST: Final = 250_000  # fields of one answer
_SHORT: Final = 10  # records of a list whose length is not asked for
_PAGE: Final = frozenset({"nodes", "edges"})  # as long as the page around them, which is counted already


class SizeRule(ASTValidationRule):
    """Refuses operations whose objects lie too deep in each other (introspection is not counted), or with too many
    aliases. The rules of strawberry visit a fragment at each spread.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._fragments: dict[str, FragmentDefinitionNode] = {}
        self._measured: dict[str, tuple[int, int]] = {}

    def enter_document(self, node: DocumentNode, *_: Any) -> None:
        self._fragments = {d.name.value: d for d in node.definitions if isinstance(d, FragmentDefinitionNode)}
        for definition in node.definitions:
            if isinstance(definition, OperationDefinitionNode):
                name = definition.name.value if definition.name is not None else "anonymous"
                depth, aliases = self._size(definition.selection_set)
                if depth > DEPTH:
                    self._refuse(f"'{name}' exceeds maximum operation depth of {DEPTH}", definition)
                if aliases > ALIASES:
                    self._refuse(f"'{name}': {aliases} aliases found, at most {ALIASES} are allowed", definition)

    def _refuse(self, message: str, node: OperationDefinitionNode) -> None:
        self.report_error(GraphQLError(message, node))

    def _size(self, selected: SelectionSetNode | None) -> tuple[int, int]:
        """(depth, aliases)."""
        depth = aliases = 0
        for node in selected.selections if selected is not None else ():
            below = 0, 0
            if isinstance(node, FieldNode):
                aliases += node.alias is not None
                if node.selection_set is not None and not node.name.value.startswith("__"):
                    deep, more = self._size(node.selection_set)
                    below = deep + 1, more
            elif isinstance(node, InlineFragmentNode):
                below = self._size(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value in self._fragments:
                below = self._of_fragment(node.name.value)
            depth, aliases = max(depth, below[0]), aliases + below[1]
        return depth, aliases

    def _of_fragment(self, name: str) -> tuple[int, int]:
        if name not in self._measured:
            self._measured[name] = 0, 0  # of a circle, which another rule refuses
            self._measured[name] = self._size(self._fragments[name].selection_set)
        return self._measured[name]


class _Counter:
    def __init__(self, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._counted: dict[str, int] = {}
        self.asked: dict[str, set[str]] = {}  # names of fields by type
        self._fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}

    def selection(self, kind: GraphQLObjectType, selected: SelectionSetNode | None) -> int:
        """Fields of one object as it is selected."""
        total = 0
        for node in selected.selections if selected is not None else ():
            if isinstance(node, FieldNode):
                total += self._field(kind, node)
            elif isinstance(node, InlineFragmentNode):
                total += self.selection(kind, node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value in self._fragments:
                total += self._fragment(kind, node.name.value)
        return total

    def _fragment(self, kind: GraphQLObjectType, name: str) -> int:
        if name not in self._counted:
            self._counted[name] = self.selection(kind, self._fragments[name].selection_set)
        return self._counted[name]

    def _field(self, kind: GraphQLObjectType, node: FieldNode) -> int:
        self.asked.setdefault(kind.name, set()).add(node.name.value)
        field = kind.fields.get(node.name.value)
        inner = get_named_type(field.type) if field is not None else None
        if field is None or not is_object_type(inner):
            return 1
        return 1 + self._records(field, node) * self.selection(inner, node.selection_set)

    def _records(self, field: GraphQLField, node: FieldNode) -> int:
        if "first" in field.args:
            for argument in node.arguments or ():
                if argument.name.value == "first":
                    return max(1, self._value(argument.value, field.args["first"].default_value))
            return max(1, self._value(None, field.args["first"].default_value))
        kind = field.type.of_type if is_non_null_type(field.type) else field.type
        return _SHORT if is_list_type(kind) and node.name.value not in _PAGE else 1

    def _value(self, node: Any, default: Any) -> int:
        if isinstance(node, IntValueNode):
            return int(node.value)
        if isinstance(node, VariableNode):
            value = self._variables.get(node.name.value, default)
            return value if isinstance(value, int) else 1
        return default if isinstance(default, int) else 1


def cost(
    schema: GraphQLSchema, document: DocumentNode, operation: str | None, variables: Mapping[str, Any] | None
) -> tuple[int, dict[str, set[str]]]:
    """How many fields the named operation, or the only one, of a valid document may fill, and their names by type."""
    for definition in document.definitions:
        if not isinstance(definition, OperationDefinitionNode):
            continue
        if operation is None or (definition.name is not None and definition.name.value == operation):
            root = schema.get_root_type(definition.operation)
            if root is not None:
                defaults = {
                    v.variable.name.value: int(v.default_value.value)
                    for v in definition.variable_definitions or ()
                    if isinstance(v.default_value, IntValueNode)
                }
                counter = _Counter(document, {**defaults, **(variables or {})})
                return counter.selection(root, definition.selection_set), counter.asked
    return 0, {}

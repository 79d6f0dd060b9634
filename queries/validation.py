"""Validation rules in one walk, each called only for the nodes that it looks at.

graphql-core asks every rule for its methods of every kind of node, anew for each text, and then calls all rules' places
at each node: most of the time that a new text costs. What a rule looks at is known from its class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from graphql import BREAK, SKIP, ASTValidationRule
from graphql.language.visitor import EnterLeaveVisitor


def together(rules: Sequence[type[ASTValidationRule]]) -> type[ASTValidationRule]:
    """One rule that does what these do, in their order. They may skip nodes, but not edit the text."""

    @cache
    def looking(kind: str) -> tuple[int, ...]:
        names = (f"enter_{kind}", "enter", f"leave_{kind}", "leave")
        return tuple(i for i, rule in enumerate(rules) if any(hasattr(rule, name) for name in names))

    class Together(ASTValidationRule):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self._rules = [rule(context) for rule in rules]
            self._skipping: list[Any] = [None] * len(rules)

        def get_enter_leave_for_kind(self, kind: str) -> EnterLeaveVisitor:
            found = self.enter_leave_map.get(kind)
            if found is None:
                found = self.enter_leave_map[kind] = self._merged(kind)
            return found

        def _merged(self, kind: str) -> EnterLeaveVisitor:
            skipping = self._skipping
            methods = [(i, *self._rules[i].get_enter_leave_for_kind(kind)) for i in looking(kind)]

            def enter(node: Any, *place: Any) -> None:
                for i, entered, _ in methods:
                    if entered is not None and skipping[i] is None:
                        told = entered(node, *place)
                        if told is SKIP:
                            skipping[i] = node
                        elif told is BREAK:
                            skipping[i] = BREAK

            def leave(node: Any, *place: Any) -> None:
                for i, _, left in methods:
                    if skipping[i] is None:
                        if left is not None and left(node, *place) is BREAK:
                            skipping[i] = BREAK
                    elif skipping[i] is node:
                        skipping[i] = None

            return EnterLeaveVisitor(enter if methods else None, leave if methods else None)

    return Together

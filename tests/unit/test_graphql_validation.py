"""All rules in one walk find what graphql-core's own walk finds, error by error."""

from __future__ import annotations

import pytest
from graphql import NoSchemaIntrospectionCustomRule, parse, specified_rules, validate

from queries.cost import SizeRule
from queries.schema import build_schema
from queries.validation import together

SCHEMA = build_schema()._schema
RULES = [*specified_rules, SizeRule, NoSchemaIntrospectionCustomRule]
TOGETHER = [together(RULES)]
DEEP = "agent { balances(window: 0) { " * 7 + "item" + " } }" * 7


@pytest.mark.parametrize(
    "text",
    [
        "{ run(id: 1) { digest windows(first: 2) { number } } }",
        "{ nothing run(id: 1) { none { of } windows } }",
        "{ run { digest { x } } }",
        "{ run(id: 1, id: 2, other: 3) { digest } }",
        "query A { measures { name } } query A { measures { name } } { measures { name } }",
        "query ($a: Int, $a: Missing, $b: Run) { run(id: $c) { windows(first: $a) { number } } }",
        'query ($a: String!) { run(id: 1) { windows(first: $a, after: "x") { number } } }',
        "{ ...F ...G ...G } fragment F on Query { ...F } fragment F on Window { number } fragment H on BigInt { x }",
        "fragment A on Query { ...B } fragment B on Query { ...A } { ...A ...B }",
        "{ run(id: 1) { ... on Window { number } ... on Missing { x } ... @nothing { digest } } }",
        "{ a: run(id: 1) { digest } a: run(id: 2) { digest } }",
        "{ run(id: 1) @include(if: 3) @include(if: true) { digest @skip } }",
        "{ run(id: 1) { indicators(names: [1, {a: 2, a: 3}], source: NONE) { item } } }",
        "subscription { progress(run: 1) { state } alerts(run: 1) { kind } }",
        "type T { a: Int } { measures { name } }",
        "{ __schema { types { fields { type { fields { type { name } } } } } } }",
        f"{{ run(id: 1) {{ balances(window: 0) {{ nodes {{ {DEEP} }} }} }} }}",
        "{ " + " ".join(f"a{i}: measures {{ name }}" for i in range(40)) + " }",
    ],
)
def test_same_errors_in_the_same_order(text: str) -> None:
    document = parse(text)
    expected = validate(SCHEMA, document, RULES)
    assert [error.formatted for error in validate(SCHEMA, document, TOGETHER)] == [e.formatted for e in expected]
    assert bool(expected) != text.startswith("{ run(id: 1) { digest windows")

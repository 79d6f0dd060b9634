"""Kafka's hot requests, held to aiokafka's structures of the same versions."""

from __future__ import annotations

from typing import Any

from aiokafka.protocol.fetch import FetchRequest_v10
from aiokafka.protocol.produce import ProduceRequest_v7
from hypothesis import given
from hypothesis import strategies as st

from schemas.log.requests import Fetch, Found, Produce
from schemas.log.wire import Rare

LONG = st.integers(-(2**63), 2**63 - 1)
INT = st.integers(0, 2**31 - 1)
CODE = st.integers(-1, 120)
NAMES = st.lists(st.text("abcé.", min_size=1, max_size=9), min_size=1, max_size=3, unique=True)
NUMBERS = st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True)


def by_topic(data: st.DataObject, each: Any) -> list[tuple[str, list[tuple[int, Any]]]]:
    return [(name, [(p, data.draw(each)) for p in data.draw(NUMBERS)]) for name in data.draw(NAMES)]


@given(st.data(), INT, INT, INT, INT, INT)
def test_a_fetch(data: st.DataObject, number: int, wait: int, least: int, most: int, each: int) -> None:
    wanted = by_topic(data, LONG)
    structure = FetchRequest_v10(
        -1, wait, least, most, 1, 0, -1, [(n, [(p, -1, o, -1, each) for p, o in parts]) for n, parts in wanted], []
    )
    mine = Fetch({(n, p): o for n, parts in wanted for p, o in parts}, wait, least, most, each)
    assert mine.encode(number) == Rare(structure).encode(number)

    aborted = st.none() | st.lists(st.tuples(LONG, LONG), max_size=2)
    each_found = st.tuples(CODE, LONG, LONG, LONG, aborted, st.none() | st.binary(max_size=20))
    told, error = by_topic(data, each_found), data.draw(CODE)
    answer = structure.RESPONSE_TYPE(5, error, 0, [(n, [(p, *rest) for p, rest in parts]) for n, parts in told])
    assert mine.decode(answer.encode()) == (
        error,
        [
            Found((n, p), code, begins, gone or [], blob or b"")
            for n, parts in told
            for p, (code, _, _, begins, gone, blob) in parts
        ],
    )


@given(st.data(), INT, INT)
def test_a_produce(data: st.DataObject, number: int, wait: int) -> None:
    batches = by_topic(data, st.binary(max_size=30))
    structure = ProduceRequest_v7(None, -1, wait, batches)
    mine = Produce({(n, p): batch for n, parts in batches for p, batch in parts}, wait)
    assert mine.encode(number) == Rare(structure).encode(number)

    told = by_topic(data, st.tuples(CODE, LONG, LONG, LONG))
    answer = structure.RESPONSE_TYPE([(n, [(p, *rest) for p, rest in parts]) for n, parts in told], 3)
    assert mine.decode(answer.encode()) == [((n, p), rest[0]) for n, parts in told for p, rest in parts]

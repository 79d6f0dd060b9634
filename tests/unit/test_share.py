"""How sinks divide the partitions and projections the runs: each is one's; wrong parts are refused by their flag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from economy.errors import InputError
from infra.settings import load_settings
from schemas.catalogue import CLOCK, FACTS, ORDERS, TRADES
from streams.share import RunShare, Share, partition_counts, parts_of


@pytest.mark.parametrize(("partitions", "flow_partitions"), [(1, 1), (2, 2), (3, 5), (8, 1), (64, 64)])
def test_every_partition_is_stored_by_one_sink_and_every_sink_has_some(partitions: int, flow_partitions: int) -> None:
    counts = partition_counts(partitions, flow_partitions)
    assert counts.keys() == set(FACTS)
    every = {(family, p) for family in FACTS for p in range(counts[family])}
    most = parts_of(partitions, flow_partitions)
    for count in range(1, most + 1):
        parts = [Share(i, count).of(partitions, flow_partitions) for i in range(count)]
        assert sum(map(len, parts)) == len(every)
        assert set().union(*parts) == every
        assert (CLOCK, 0) in parts[0]
    with pytest.raises(InputError, match=rf"{most} sinks at most"):
        Share(most, most + 1).of(partitions, flow_partitions)


def test_orders_and_trades_of_one_partition_are_stored_by_two() -> None:
    for i in range(2):
        own = Share(i, 2).of(4, 4)
        assert not {p for family, p in own if family == ORDERS} & {p for family, p in own if family == TRADES}


@pytest.mark.parametrize("text", ["", "1", "2/2", "0/0", "-1/2", "1/-2", "a/b", "1/2/3", "0 / 2", "1.0/2", "²/3", "/2"])
def test_a_part_that_is_none_is_refused_by_its_name(text: str) -> None:
    for kind, flag in ((Share, "--partitions-of"), (RunShare, "--runs-of")):
        with pytest.raises(InputError, match=flag) as refused:
            kind.parse(text)
        assert repr(text) in str(refused.value)


def test_a_part_is_read_as_it_is_written() -> None:
    assert str(Share.parse("1/3")) == "1/3"
    assert Share.parse("0/1") == Share()


@given(st.integers(0, 2**63 - 1), st.integers(1, 64))
def test_every_run_is_one_projections(run: int, count: int) -> None:
    assert sum(RunShare(i, count).has(run) for i in range(count)) == 1


def test_more_sinks_than_have_something_to_store_are_no_setting() -> None:
    most = parts_of(2, 1)
    assert load_settings(partitions=2, sinks=most).sinks == most
    with pytest.raises(InputError, match=f"sinks = {most + 1} .* at most {most}"):
        load_settings(partitions=2, sinks=most + 1)

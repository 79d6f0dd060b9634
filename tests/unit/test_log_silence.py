"""A log that has more to tell and does not is no endless wait."""

from __future__ import annotations

import pytest

from economy.errors import SetupError
from schemas.catalogue import ORDERS
from schemas.log import reader


def test_a_range_of_which_nothing_comes_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(reader.LogReader, "poll", lambda *_: [])
    place = (ORDERS, 2)
    with pytest.raises(SetupError, match=r"n\..*\[2\] ends before offset 9: is the broker up"):
        list(reader.read_range("127.0.0.1:1", "n", {place: 4}, {place: 9}))

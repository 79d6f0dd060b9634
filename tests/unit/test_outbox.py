"""What agents send has the fields that its record has: neither fewer, which would be garbage, nor more, dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.outbox import Outbox
from economy.records import events as e
from economy.records.events import Action, Role


def outbox() -> Outbox:
    return Outbox(7, 1, np.zeros(3, np.int64), np.zeros(3, np.int64))


@pytest.mark.parametrize("agents", [np.array([1, 2]), np.array([], np.int64)])
@pytest.mark.parametrize("columns", [1, 3])
def test_other_columns_than_the_record_has_are_refused(agents: Any, columns: int) -> None:
    kind = e.GoodsConsumed
    assert kind.width - 4 == 2
    with pytest.raises(TypeError, match=f"GoodsConsumed has 2 fields of its own, but {columns} columns were given"):
        outbox().add(kind.name, kind.width, agents, agents, *range(columns))


def test_a_decision_has_at_most_three_inputs() -> None:
    box: Any = outbox()
    agents, action = np.array([1]), next(iter(Action))
    with pytest.raises(TypeError, match="positional arguments"):
        box.decide(Role.HOUSEHOLD, agents, agents, action, 5, 1, 2, 3, 4)
    box.decide(Role.HOUSEHOLD, agents, agents, action, 5, 1)
    (rows,) = box._parts[e.AgentDecided.name]
    assert rows[0, -4:].tolist() == [5, 1, 0, 0]

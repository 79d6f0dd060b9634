"""Ids of agents and orders as a file has them, and the integers that the market knows them by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runs.tapes.columns import Mask, Texts, integers

Ids = NDArray[np.int64]


class AgentIds:
    """Numbers of agents: the integers themselves, or, from the first other text on, places in `known`."""

    def __init__(self) -> None:
        self.named = False
        self.known: dict[str, int] = {}

    def numbers(self, texts: Texts) -> Ids | None:
        """A batch's ids; None when it is the first to show that the column holds names."""
        if not self.named:
            values, sound = integers(texts)
            if sound.all():
                return values
            self.named = True
            return None
        coded = texts.dictionary_encode()
        places = [self.known.setdefault(name, len(self.known)) for name in coded.dictionary.to_pylist()]
        return np.array(places, np.int64)[coded.indices.to_numpy()]


class OrderIds:
    """Numbers of orders: the integers themselves while they rise for each agent and instrument, as the market wants
    them; else their rank by submission.

    An id belongs to its agent and instrument: two of them may use the same. A cancel means an order that was submitted
    before it; of an id that was not, it has a number of its own, so that the order that comes later keeps its rank.
    """

    def __init__(self) -> None:
        self.named = False
        self._newest: dict[tuple[int, int], int] = {}
        # "AGENT INSTRUMENT ID" of an order, "?" before it where only a cancel told of it: one text takes a third of the
        # memory of a tuple, and agents and instruments are integers, so that no two are alike.
        self._known: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of orders 0, 1, …; empty where they speak for themselves."""
        return tuple(key.split(" ", 2)[2] for key in self._known)

    def forget(self) -> None:
        """Begin anew, but for what is known of the column as a whole."""
        self._newest.clear()
        self._known.clear()

    def integers(self, texts: Texts) -> Ids | None:
        """A batch's ids; None when it is the first to show that they must be numbered."""
        values, sound = integers(texts)
        if sound.all():
            return values
        self.named = True
        return None

    def rise(self, order: Ids, agent: Ids, instrument: Ids) -> bool:
        """False when one of the next orders, given in their order, has an id below an earlier one's: then they must be
        numbered."""
        if not len(order):
            return True
        at = np.lexsort((instrument, agent))
        agent, instrument, order = agent[at], instrument[at], order[at]
        new = np.r_[True, (np.diff(agent) != 0) | (np.diff(instrument) != 0)]
        self.named = bool((~new[1:] & (order[1:] < order[:-1])).any())
        first, last = order[new].tolist(), order[np.r_[new[1:], True]].tolist()
        keys = zip(agent[new].tolist(), instrument[new].tolist(), strict=True)
        for key, low, high in zip(keys, first, last, strict=True):
            self.named |= low < self._newest.get(key, low)
            self._newest[key] = high
        return not self.named

    def numbers(self, texts: Texts, agent: Ids, instrument: Ids, submit: Mask) -> Ids:
        """The numbers of a batch's orders and cancels, in file order."""
        known = self._known
        out = np.empty(len(texts), np.int64)
        columns = (agent.tolist(), instrument.tolist(), texts.to_pylist(), submit.tolist())
        for row, (who, where, name, new) in enumerate(zip(*columns, strict=True)):
            key = f"{who} {where} {name}"
            if not new and key not in known:
                key = f"?{key}"
            out[row] = known.setdefault(key, len(known))
        return out

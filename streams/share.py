"""How several processes divide the work of a namespace: sinks its partitions, projections its runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from economy.errors import InputError
from schemas.catalogue import BALANCES, CLOCK, DECISIONS, FACTS, FLOWS, INDICATORS, ORDERS, TRADES

if TYPE_CHECKING:  # settings are checked by parts_of, where the client of Kafka would be a long import
    from schemas.log.reader import Place


@dataclass(frozen=True)
class Part:
    """Part `index` of `count`."""

    OPTION: ClassVar[str]  # by which a process is told its part
    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `i/n`, 0 <= i < n. Raises InputError for anything else."""
        index, slash, count = text.partition("/")
        if not (slash and index.isascii() and index.isdigit() and count.isascii() and count.isdigit()):
            raise InputError(cls.OPTION, text, "give part/parts, as in 0/2 and 1/2")
        share = cls(int(index), int(count))
        if share.index >= share.count:
            raise InputError(cls.OPTION, text, "parts are counted from 0: give 0/n to (n-1)/n")
        return share

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True)
class RunShare(Part):
    """The runs of a projection: those whose number modulo the parts is the part's index."""

    OPTION: ClassVar[str] = "--runs-of"

    def has(self, run: int) -> bool:
        """True for one part of each run."""
        return run % self.count == self.index


@dataclass(frozen=True)
class Share(Part):
    """The partitions of a sink. The clock's topic, and with it the keeping of the rows of runs, falls to part 0."""

    OPTION: ClassVar[str] = "--partitions-of"

    def of(self, partitions: int, flow_partitions: int) -> list[Place]:
        """The partitions of this part. Raises InputError where there are more parts than can have one.

        Partition p of the k-th topic falls to part (p + k) modulo the parts, so that the orders and the trades of one
        partition, which are many or few together, are stored by two.
        """
        own = [
            (family, p)
            for k, family in enumerate(FACTS)
            for p in range(partition_counts(partitions, flow_partitions)[family])
            if (p + k) % self.count == self.index
        ]
        if not own:
            most = parts_of(partitions, flow_partitions)
            raise InputError(self.OPTION, str(self), f"these topics can be divided among {most} sinks at most")
        return own


def partition_counts(partitions: int, flow_partitions: int) -> dict[str, int]:
    """Number of partitions of each topic that is stored."""
    many = {ORDERS: partitions, TRADES: partitions, DECISIONS: flow_partitions, FLOWS: flow_partitions}
    return many | {CLOCK: 1, BALANCES: 1, INDICATORS: 1}


def parts_of(partitions: int, flow_partitions: int) -> int:
    """The largest number of sinks of which each has something to store."""
    counts = partition_counts(partitions, flow_partitions)
    return max(k + counts[family] for k, family in enumerate(FACTS))

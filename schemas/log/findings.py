"""What can be wrong with the records of a run, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from schemas.log.assembly import STARTER

NOBODY: Final = -9  # a fault that is laid at no writer's door


class Fault(StrEnum):
    """What can be wrong with a record."""

    CHANGED = "changed"
    MISSING = "missing"
    FOREIGN = "foreign"
    REORDERED = "reordered"
    UNDECODABLE = "undecodable"


@dataclass(frozen=True)
class Finding:
    """One fault and its place; `until` > `offset` where it lies somewhere in a range of offsets."""

    fault: Fault
    topic: str
    partition: int
    offset: int
    until: int
    writer: int
    epoch: int
    detail: str

    def __str__(self) -> str:
        where = f"offset {self.offset}" if self.until <= self.offset else f"offsets {self.offset} to {self.until}"
        writer = {STARTER: "the run's starter"}.get(self.writer, f"writer {self.writer}")
        return f"{self.fault}: {self.topic}[{self.partition}] {where}, {writer}, epoch {self.epoch}: {self.detail}"


@dataclass(frozen=True)
class Verdict:
    """What verification found. `through` is the last epoch before any fault; digest and root are as recomputed."""

    run: int
    through: int
    last_epoch: int
    records: int
    retries: int
    digest: str
    root: str
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {**self.__dict__, "sound": self.sound, "findings": [{**f.__dict__} for f in self.findings]}

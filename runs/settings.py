"""What the processes of runs/ are told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field
from pydantic_settings import CliPositionalArg

from telemetry.process import Names, ProcessSettings

CREDIT: Final = 8  # epochs that a clock may grant ahead of matching


class ClockSettings(ProcessSettings):
    """The clock of one run."""

    MODULE: ClassVar[str] = "runs.clock"
    SERVICE: ClassVar[str] = "clock"
    spec: CliPositionalArg[Path] = Field(description="JSON file with the run's specification")
    bootstrap: str = Field(description="address of the broker")
    namespace: str = Field(default="escape", description="prefix of the topics")
    credit: int = Field(default=CREDIT, ge=1, description="epochs that may be granted ahead of matching")
    pace: int = Field(default=0, ge=0, description="speed relative to real time, 0 = as fast as possible")
    models: Names = Field(default=(), description="further models that the run may name, as module:function")
    follow_parent: bool = Field(default=False, description="end when standard input does, with the parent")

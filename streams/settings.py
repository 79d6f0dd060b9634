"""What the processes of streams/ are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from telemetry.logs import Level
from telemetry.process import ProcessSettings


class LogSettings(ProcessSettings):
    """The log that a process follows."""

    bootstrap: str = Field(description="address of the broker")
    namespace: str = Field(default="escape", description="prefix of the topics")
    partitions: int = Field(default=1, ge=1, description="order and trade partitions of the namespace")
    flow_partitions: int = Field(default=1, ge=1, description="flow and decision partitions of the namespace")


class NamedSettings(ProcessSettings):
    """Which worker of this machine."""

    data: Path = Field(default=Path(".escape"), description="folder for a worker's own files")
    name: str = Field(default="w0", description="name of the worker in its folder")


class WatchedSettings(LogSettings, NamedSettings):
    """A worker that follows the log and tells how it is."""


class FaustSettings(WatchedSettings):
    """A Faust worker."""

    QUIET: ClassVar[Mapping[str, Level]] = {"faust": "ERROR", "mode": "ERROR", "aiokafka": "ERROR"}


class HealthSettings(NamedSettings):
    """Says whether a worker does its work; exit code 1 and why when it does not."""

    MODULE: ClassVar[str] = "streams.health"


class MatchingSettings(FaustSettings):
    """The Faust worker that matches orders."""

    MODULE: ClassVar[str] = "streams.worker matching"
    SERVICE: ClassVar[str] = "matching"
    session_timeout: float = Field(default=3.0, gt=0, description="seconds after which a dead worker is noticed")


class ProjectionSettings(FaustSettings):
    """The Faust worker that computes balances and indicators."""

    MODULE: ClassVar[str] = "streams.worker projection"
    SERVICE: ClassVar[str] = "projection"
    runs_of: str = Field(default="0/1", description="I/N: project the I-th of N parts of the runs; I from 0")


class SinkSettings(WatchedSettings):
    """Copies the log into ClickHouse."""

    MODULE: ClassVar[str] = "streams.sink"
    SERVICE: ClassVar[str] = "sink"
    # While ClickHouse restarts, one line per attempt is enough.
    QUIET: ClassVar[Mapping[str, Level]] = {"urllib3": "ERROR", "clickhouse_connect": "ERROR"}
    partitions_of: str = Field(default="0/1", description="I/N: store the I-th of N parts of the partitions; I from 0")
    clickhouse_url: str = Field(description="http[s]://user@host:port/database; the password by CLICKHOUSE_PASSWORD")
    name: str = Field(default="sink", description="name of the worker in its folder")

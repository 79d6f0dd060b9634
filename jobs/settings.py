"""What the main of the Spark jobs is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from telemetry.logs import Level
from telemetry.process import ProcessSettings


class JobSettings(ProcessSettings):
    """One Spark job over a run: give --run and --bootstrap, or --file."""

    MODULE: ClassVar[str] = "jobs.main"
    SERVICE: ClassVar[str] = "job"
    QUIET: ClassVar[Mapping[str, Level]] = {"py4j": "ERROR"}
    log_level: Level = Field(default="WARN", description="least level that is logged")
    job: CliPositionalArg[str] = Field(description="name of the job; `escape job list` tells all")
    run: int | None = Field(default=None, description="run id")
    bootstrap: str = Field(default="", description="address of the broker")
    file: str = Field(default="", description="exported run, instead of --run and --bootstrap")
    namespace: str = Field(default="escape", description="prefix of the topics")
    clickhouse_url: str = Field(
        default="", description="where figures are published: http[s]://user@host:port/database"
    )
    master: str = Field(default="", description="Spark master; else spark-submit's, else local[2]")
    jars: str = Field(default="", description="connector jars, comma-separated; empty where Spark has them")
    incremental: str = Field(default="", description="folder that executors share: read only what is new")
    shuffle_partitions: int = Field(default=4, ge=1, description="partitions of a shuffle; about the cluster's cores")

    @model_validator(mode="after")
    def _one_source(self) -> JobSettings:
        if bool(self.file) == (self.run is not None and bool(self.bootstrap)):
            raise ValueError("give --run and --bootstrap, or --file")
        return self

"""Settings of a deployment: flags over environment (ESCAPE_*) over file (escape.toml) over defaults."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from economy.errors import InputError
from economy.tomltext import parse_toml
from queries.settings import ServerSettings
from runs.settings import ClockSettings
from schemas.files import head
from streams.settings import MatchingSettings, ProjectionSettings, SinkSettings
from telemetry.logs import Format, Level
from telemetry.process import PREFIX, SEPARATOR, Names, variables

FILE = "escape.toml"
_PASSWORD = re.compile(r"(://[^:/@]*):[^/]*@")


class _File(TomlConfigSettingsSource):
    """The file; one that is there and cannot be read is told instead of passed over."""

    @staticmethod
    def _existing_files(files: Any) -> list[Any]:
        return [Path(files)] if os.path.lexists(files) else []

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        head(file_path, 1, "settings file")
        try:
            return parse_toml(file_path.read_bytes())
        except ValueError as error:
            raise InputError("settings file", str(file_path), str(error)) from None


class Settings(BaseSettings):
    """Everything that differs between machines. An empty address means: start the embedded component."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file=FILE, extra="forbid", frozen=True)

    state: Path = Field(
        Path(".escape"), description="folder of all state: log, tables, logs, reports; delete it at will"
    )
    reserve_mb: int = Field(
        200, ge=0, description="a run is interrupted, and none is started, when the state folder has less room, in MB"
    )
    cache: Path = Field(
        Path("~/.cache/escapecapitalism"), description="folder of downloaded jars, shared by all checkouts"
    )
    namespace: str = Field("escape", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="prefix of every topic")
    bootstrap: str = Field("", description="address of a Kafka broker; empty = embedded")
    broker_port: int = Field(0, ge=0, le=65535, description="port of the embedded broker; 0 = a free one")
    clickhouse_url: str = Field("", description="ClickHouse HTTP address with user and password; empty = embedded")
    clickhouse_reader_url: str = Field(
        "", description="the same with a user that only reads, for what only reads; alone: nothing is written"
    )
    clickhouse_port: int = Field(0, ge=0, le=65535, description="port of the embedded ClickHouse; 0 = a free one")
    api_port: int = Field(0, ge=0, le=65535, description="port of GraphQL and the reports; 0 = a free one")
    production: bool = Field(False, description="serve without introspection and GraphiQL")
    allow_host: Names = Field((), description="further host names that clients of the API may use, with commas between")
    allow_origin: Names = Field((), description="further origins that pages may ask the API from, with commas between")
    trust_proxy: Names = Field(
        (),
        description="addresses or networks of proxies before the API, which say whom they ask for, with commas between",
    )
    workers: bool = Field(True, description="start Faust workers with the stack; false where they run elsewhere")
    partitions: int = Field(1, ge=1, le=64, description="order and trade partitions; fixed per namespace")
    flow_partitions: int = Field(1, ge=1, le=64, description="flow and decision partitions; fixed per namespace")
    replication: int = Field(
        -1, ge=-1, le=32, description="replicas of every topic; -1 = the broker's default (1 for the embedded one)"
    )
    min_insync: int = Field(
        0, ge=0, le=32, description="replicas that must have what counts as written; 0 = the broker's default"
    )
    sinks: int = Field(1, ge=1, description="processes that copy the log into ClickHouse, each some of its partitions")
    projections: int = Field(
        1, ge=1, le=64, description="processes that compute balances and indicators, each those of some runs"
    )
    shards: int = Field(2, ge=1, le=64, description="agent shards (Ray actors) of a run")
    checkpoint_every: int = Field(
        100, ge=1, description="epochs between the checkpoints of a run that `show` and `fork` keep"
    )
    compress: bool = Field(
        False, description="shards pack what they write by lz4: less than half the log for a tenth more processor time"
    )
    models: Names = Field(
        (), description="further models that runs may name, as module:function, with commas between; their code is run"
    )
    ray_address: str = Field("", description="address of a Ray cluster; auto = this node's, empty = one for the run")
    spark_master: str = Field("local[2]", description="Spark master of the jobs")
    spark_memory: str = Field(
        "1500m", pattern=r"^[1-9][0-9]*[mg]$", description="heap of a job's driver, and of each executor of a cluster"
    )
    log_format: Format = Field("text", description="of what processes write to stderr, text or json; files hold JSON")
    log_level: Level = Field("INFO", description="least level that processes log: DEBUG, INFO, WARN, ERROR or FATAL")
    java_home: str = Field("", description="Java 17 or 21; empty = JAVA_HOME, PATH, then the bundled runtime")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _File(settings_cls)

    @property
    def state_folder(self) -> Path:
        return self.state.expanduser().absolute()

    def environment(self) -> dict[str, str]:
        """The variables that make another process load the same settings."""
        told = {name: SEPARATOR.join(v) if isinstance(v, tuple) else str(v) for name, v in self.model_dump().items()}
        return {PREFIX + name.upper(): value for name, value in told.items()}

    @property
    def cache_folder(self) -> Path:
        return self.cache.expanduser().absolute()


def load_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are None do not count. Raises InputError naming an unknown or wrong key."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= variables(MatchingSettings, ProjectionSettings, SinkSettings, ServerSettings, ClockSettings)
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in known:
            raise InputError(variable, os.environ[variable], f"unset it; known are {', '.join(sorted(known))}")
    try:
        return _checked(Settings(**{name: value for name, value in flags.items() if value is not None}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known_keys = ", ".join(sorted(Settings.model_fields))
        remedy = f"known settings are {known_keys}" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(name, first.get("input"), remedy) from error


def told(settings: Settings) -> list[dict[str, str]]:
    """Each setting with its value, where that is from, its variable and what it is; passwords are hidden."""
    said = settings.environment()
    return [
        {
            "setting": name,
            "value": _PASSWORD.sub(r"\1:***@", said[PREFIX + name.upper()]),
            "from": _source(settings, name),
            "variable": PREFIX + name.upper(),
            "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]


def _source(settings: Settings, name: str) -> str:
    if name not in settings.model_fields_set:
        return "default"
    return "variable" if PREFIX + name.upper() in os.environ else FILE


def _checked(settings: Settings) -> Settings:
    """The settings, if they go together. Raises InputError."""
    if settings.sinks > 1:
        from streams.share import parts_of

        most = parts_of(settings.partitions, settings.flow_partitions)
        if settings.sinks > most:
            raise InputError(
                "sinks",
                settings.sinks,
                f"give at most {most}, or more partitions: further sinks would have nothing to store",
            )
    return settings

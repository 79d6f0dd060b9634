"""The processes of a stack are told what its settings say."""

from __future__ import annotations

from pathlib import Path

from infra import components
from infra.clickhouse import EngineSettings
from infra.settings import load_settings
from queries.settings import ServerSettings
from schemas.clickhouse_server import ClickHouseConfig
from streams.settings import MatchingSettings, ProjectionSettings, SinkSettings
from telemetry.process import ProcessSettings

TABLES = ClickHouseConfig.from_dsn("http://escape:secret@127.0.0.1:1/escape")


def test_every_process_logs_as_the_settings_say(tmp_path: Path) -> None:
    chosen = load_settings(state=tmp_path, log_level="DEBUG", log_format="json", partitions=2, sinks=2, projections=2)
    children = [
        components.matching(chosen, "b:1"), *components.projections(chosen, "b:1"), components.clickhouse(chosen, 1),
        *components.sinks(chosen, "b:1", TABLES), components.api(chosen, TABLES, 3, False, (), ()),
    ]  # fmt: skip
    models: list[type[ProcessSettings]] = [
        MatchingSettings, ProjectionSettings, ProjectionSettings, EngineSettings, SinkSettings, SinkSettings,
        ServerSettings,
    ]  # fmt: skip
    for child, model in zip(children, models, strict=True):
        told = model.parse(child.command[2 + len(model.MODULE.split()) :])
        assert (told.log_level, told.log_format) == ("DEBUG", "json"), child.name


def test_each_worker_tells_how_it_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    chosen = load_settings(state=tmp_path, partitions=3, sinks=3, projections=3)
    children = [
        components.matching(chosen, "b:1"), *components.projections(chosen, "b:1"),
        *components.sinks(chosen, "b:1", TABLES),
    ]  # fmt: skip
    told = [(child.health.data, child.health.name) for child in children if child.health is not None]
    assert len(set(told)) == len(children)

"""What a Spark job needs from this machine: Java, connectors, addresses, and a log file instead of the terminal."""

from __future__ import annotations

import os
from pathlib import Path

from infra.jars import spark_jars
from infra.java import file_logging, java_home
from infra.settings import Settings
from infra.stack import Attached, Stack
from jobs.config import JobConfig


def job_config(settings: Settings, stack: Stack | Attached) -> JobConfig:
    """The configuration of jobs over a stack; publishes where the stack has tables."""
    tables = stack.tables.dsn if stack.tables else ""
    return _config(settings, stack.folder, stack.logs, stack.bootstrap, stack.namespace, tables)


def file_config(settings: Settings) -> JobConfig:
    """The configuration of jobs over an exported run, without a stack; publishes nothing."""
    return _config(settings, settings.state_folder, settings.state_folder / "logs", "", "", "")


def _config(settings: Settings, state: Path, logs: Path, bootstrap: str, namespace: str, clickhouse: str) -> JobConfig:
    home = java_home(settings.java_home, settings.cache_folder)
    folder = state / "spark"
    for needed in (folder / "conf", logs):
        needed.mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "log4j2.properties").write_text(file_logging(logs / "spark.log"))
    os.environ["SPARK_CONF_DIR"] = str(folder / "conf")
    return JobConfig(
        bootstrap=bootstrap,
        namespace=namespace,
        clickhouse=clickhouse,
        master=settings.spark_master,
        jars=spark_jars(settings.cache_folder, home),
        java_home=str(home),
        scratch=str(folder),
    )

"""What a Spark job needs from this machine: Java, connectors, addresses, and a log file instead of the terminal."""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit

from infra.jars import spark_jars
from infra.java import file_logging, java_home
from infra.settings import Settings
from infra.stack import Attached, Stack
from jobs.config import JobConfig
from queries.config import ClickHouseConfig


def dsn_of(tables: ClickHouseConfig) -> str:
    """Address with user, password and database: a secret."""
    parts = urlsplit(tables.url)
    return f"{parts.scheme}://{quote(tables.user)}:{quote(tables.password)}@{parts.netloc}/{tables.database}"


def job_config(settings: Settings, stack: Stack | Attached) -> JobConfig:
    """The configuration of jobs over a stack; publishes where the stack has tables."""
    home = java_home(settings.java_home, settings.cache_folder)
    folder = stack.folder / "spark"
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "log4j2.properties").write_text(file_logging(stack.logs / "spark.log"))
    os.environ["SPARK_CONF_DIR"] = str(folder / "conf")
    return JobConfig(
        bootstrap=stack.bootstrap,
        namespace=stack.namespace,
        clickhouse=dsn_of(stack.tables) if stack.tables else "",
        master=settings.spark_master,
        jars=spark_jars(settings.cache_folder, home),
        java_home=str(home),
        scratch=str(folder),
    )

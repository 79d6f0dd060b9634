"""What a Spark job needs from this machine: Java, connectors, addresses, and a log file instead of the terminal."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Final

from infra.jars import spark_home, spark_jars
from infra.java import file_logging, java_home
from infra.settings import Settings
from infra.stack import Attached, Stack
from jobs.config import JobConfig
from schemas.catalogue import FLOWS, TRADES
from schemas.log.history import read_history

# Up to here the optimising compiler takes more time than the faster code gives back: 25 s of a job over two million
# records, against 9. The quick one alone would have too little room for what Spark generates.
_SMALL: Final = 4_000_000  # records of flows and trades
_RECORD_BYTES: Final = 60
_QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m"


def is_small(stack: Stack | Attached, run: int) -> bool:
    """Whether a run is small enough for Java's quick compiler; one that goes on is not, as nobody knows."""
    segments = read_history(stack.bootstrap, stack.namespace, run)
    if not segments[-1].end:
        return False
    records = [
        end - part.start[place] for part in segments for place, end in part.end.items() if place[0] in (FLOWS, TRADES)
    ]
    return sum(records) <= _SMALL


def job_config(settings: Settings, stack: Stack | Attached, small: bool = False) -> JobConfig:
    """The configuration of jobs over a stack; publishes where the stack has tables. `small`: for a small run."""
    tables = stack.tables.dsn if stack.tables else ""
    return _config(settings, stack.folder, stack.logs, stack.bootstrap, stack.namespace, tables, small)


def file_config(settings: Settings, size: int) -> JobConfig:
    """The configuration of jobs over an exported run of so many bytes, without a stack; publishes nothing."""
    small = size <= _SMALL * _RECORD_BYTES
    return _config(settings, settings.state_folder, settings.state_folder / "logs", "", "", "", small)


def _config(
    settings: Settings, state: Path, logs: Path, bootstrap: str, namespace: str, clickhouse: str, small: bool
) -> JobConfig:
    home = java_home(settings.java_home, settings.cache_folder)
    folder = state / "spark"
    defaults = folder / "defaults"  # stays empty: Java archives no classes behind a folder with files
    for needed in (defaults, logs):
        needed.mkdir(parents=True, exist_ok=True)
    logging = folder / "log4j2.properties"
    logging.write_text(file_logging(logs / "spark.log"))
    os.environ["SPARK_CONF_DIR"] = str(defaults)
    jars = spark_jars(settings.cache_folder, home)
    # Java passes over an archive that was written with other files: one for each Java, Spark and set of connectors.
    java = (home / "bin" / "java").resolve()
    made_of = f"{java} {java.stat().st_mtime_ns} {spark_home()} {version('pyspark')} {jars}"
    archive = settings.cache_folder / f"spark-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.jsa"
    return JobConfig(
        bootstrap=bootstrap,
        namespace=namespace,
        clickhouse=clickhouse,
        master=settings.spark_master,
        jars=jars,
        java_home=str(home),
        scratch=str(folder),
        java_options=f'{_QUICK if small else JobConfig.java_options} "-Dlog4j2.configurationFile={logging}"',
        memory=settings.spark_memory,
        executor_options=_QUICK if small else "",
        archive=str(archive),
    )

"""The Spark session of a job: on loopback, quiet, exact."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from economy.errors import EscapeError, SetupError
from jobs.classes import ClassArchive
from jobs.config import JobConfig

_END_SECONDS: Final = 60  # for Java to end, which may write the archive of its classes meanwhile


def submitted() -> bool:
    """Whether spark-submit has started this process: master, jars and memory are then its own."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


@contextmanager
def spark_session(config: JobConfig, name: str) -> Iterator[Any]:
    """A session for as long as the block runs. Raises SetupError when Spark does not start, or ends meanwhile."""
    if config.java_home:
        os.environ["JAVA_HOME"] = config.java_home
    # Else the workers take the PATH's python3, which lacks our packages.
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if config.master.startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    local = config.master.startswith("local")
    archive = ClassArchive(Path(config.archive)) if local and config.archive else None
    builder: Any = SparkSession.builder
    if config.master:
        builder = builder.master(config.master)
    builder = (
        builder.appName(name)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", str(config.shuffle_partitions))
        .config("spark.sql.ansi.enabled", "true")  # an overflow raises, it never wraps
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.python.worker.faulthandler.enabled", "false")
        .config("spark.python.daemon.module", "jobs.daemon")
        # To compress what is kept takes more time than all that reads it, and spares little of columns of identities.
        .config("spark.sql.inMemoryColumnarStorage.compressed", "false")
    )
    if local:
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
        sharing = "" if archive is None else f'"{archive.option()}" -Xlog:cds=off -Xlog:cds+dynamic=off'
        builder = builder.config("spark.driver.extraJavaOptions", f"{config.java_options} {sharing}")
        # On the class path and not among spark.jars, which Spark copies, and whose classes no archive holds.
        builder = builder.config("spark.driver.extraClassPath", config.jars.replace(",", ":"))
    else:
        if config.jars:
            builder = builder.config("spark.jars", config.jars)
        if not submitted():
            builder = builder.config("spark.driver.extraJavaOptions", config.java_options)
            builder = builder.config("spark.executor.extraJavaOptions", config.executor_options)
            builder = builder.config("spark.executor.memory", config.memory)
    if not submitted():
        builder = builder.config("spark.driver.memory", config.memory)
    if config.scratch:
        builder = builder.config("spark.local.dir", config.scratch)
        builder = builder.config("spark.sql.warehouse.dir", os.path.join(config.scratch, "warehouse"))
    try:
        session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise SetupError(f"Spark does not start: {error}", "`escape doctor` looks at Java and the jars") from error
    session.sparkContext.setLogLevel("ERROR")
    try:
        if config.bootstrap:
            _need_kafka(session, config.bootstrap)
        yield session
    except (KeyboardInterrupt, SystemExit):
        kill_jvm()
        raise
    except EscapeError:
        raise
    except Exception as error:  # pyspark has many for a connection that is lost
        if not _ended(session):
            raise
        raise SetupError(
            "Spark's Java process ended while the job ran",
            "run the job again: a table holds all of a job's rows or those from before; Java's last words are above",
        ) from error
    finally:
        code = _end(session)
        if archive is not None:
            archive.settle(code)


def _ended(session: Any) -> bool:
    """Whether Spark's Java process has ended: a task's fatal error reaches us a little before it does."""
    if submitted():
        return False  # it is spark-submit's, and ends this process with it
    try:
        session.sparkContext._gateway.proc.wait(2)
    except subprocess.TimeoutExpired:
        return False
    return True


def _need_kafka(session: Any, bootstrap: str) -> None:
    """Raises SetupError where Spark has no connector to Kafka: a cluster's own Spark has none. Nothing is read yet."""
    from pyspark.errors import AnalysisException

    source = session.read.format("kafka").option("kafka.bootstrap.servers", bootstrap)
    try:
        source.option("subscribe", "none").load()
    except AnalysisException as error:
        raise SetupError(
            "Spark has no connector to Kafka",
            "pass --packages to spark-submit or --jars to jobs.main: docs/spark.md",
        ) from error


def kill_jvm() -> None:
    """End Spark's Java process at once, if there is one: while it plans a query it answers to nothing else."""
    from pyspark import SparkContext

    process: Any = getattr(SparkContext._gateway, "proc", None)
    if process is not None:
        process.kill()
        process.wait()


def _end(session: Any) -> int | None:
    """Stop Spark and its JVM, which pyspark would keep until this process ends; the JVM's exit code, if it is ours."""
    from pyspark import SparkContext

    untyped: Any = SparkContext
    gateway = session.sparkContext._gateway
    if submitted():
        session.stop()  # the JVM is spark-submit's, which ends with this process
        return None
    if gateway.proc.poll() is None:
        session.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()
        try:
            gateway.proc.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            kill_jvm()
    untyped._gateway = untyped._jvm = untyped._active_spark_context = None
    code: int | None = gateway.proc.poll()
    return code

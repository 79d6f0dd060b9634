"""Where a job finds the log, Java, its jars and the tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JobConfig:
    """Plain values, so that a job runs the same from the command line, from spark-submit and on a cluster.

    `master` is "" where spark-submit names it; `memory` and `java_options` are the driver's where we start it;
    executors of a cluster have the same `memory` and `executor_options`. `jars` is Spark's comma-separated list of
    connectors, "" where the cluster provides them; `clickhouse` is http://user:password@host:port/database. `archive`
    is where Java keeps loaded classes from one local job to the next, "" for nowhere.
    """

    bootstrap: str
    namespace: str
    clickhouse: str = ""
    master: str = "local[2]"
    jars: str = ""
    java_home: str = ""
    scratch: str = ""
    shuffle_partitions: int = 4
    memory: str = "1500m"
    java_options: str = "-XX:+UseParallelGC"
    executor_options: str = ""
    archive: str = ""

    def __repr__(self) -> str:
        return f"JobConfig({self.bootstrap!r}, {self.namespace!r}, master={self.master!r})"

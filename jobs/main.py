"""Jobs over one run: `python -m jobs.main gdp --run RUN --bootstrap …`, and the main of spark-submit."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from economy.errors import AccountingError, InputError
from economy.numbers.decimals import RAW, beside
from economy.scales import Scales
from jobs.config import JobConfig
from jobs.files import FileRecords, file_range
from jobs.landing import landed_range
from jobs.postings import Booked
from jobs.registry import Job, job_of
from jobs.session import spark_session, submitted
from jobs.settings import JobSettings
from jobs.source import KafkaRecords, Records, RunLog, RunRange, run_range
from jobs.writer import publish
from schemas.clickhouse_server import ClickHouseConfig
from telemetry.process import run_process

OnProgress = Callable[[str, int, int], None]  # (what, done, of)


@dataclass(frozen=True)
class Figure:
    """One figure of one window."""

    job: str
    window: int
    indicator: str
    item: int
    value: int


@dataclass(frozen=True)
class Outcome:
    """What a job did: how many rows it found and published, and the ones that a person looks at, by key."""

    job: Job
    rows: int
    published: bool
    shown: list[dict[str, Any]]
    scales: Scales

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it: exact decimals, with the integers of the table beside them."""
        return {"job": self.job.name, "table": self.job.table, "rows": self.rows, "published": self.published,
                "shown": [self._row(row) for row in self.shown]}  # fmt: skip

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        scales = self.scales.result(self.job.table, row)
        told: dict[str, Any] = {}
        for name, value in row.items():
            if name not in scales:
                told[name] = _plain(value)
            else:
                told |= {name: None, f"{name}{RAW}": None} if value is None else beside(name, int(value), scales[name])
        return told

    @property
    def figures(self) -> list[Figure]:
        """The shown rows of a job that computes indicators."""
        return [Figure(self.job.name, **{**row, "value": int(row["value"])}) for row in self.shown]

    def check(self) -> None:
        """Raises AccountingError when the job proves something and has found that it does not hold."""
        if self.job.proves and self.shown:
            first = self.shown[0]
            raise AccountingError(
                f"{len(self.shown)} of {self.rows} figures differ; {first['indicator']} {first['item']} of window "
                f"{first['window']} is {first['stream']} by the stream and {first['batch']} by the batch",
                "verify the run; where a whole window is missing, the projection has not come so far yet",
            )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def run_jobs(
    names: Sequence[str],
    config: JobConfig,
    run: int,
    on_progress: OnProgress | None = None,
    session: Any = None,
    incremental: str = "",
) -> list[Outcome]:
    """Run jobs over one run in one session, and publish where a ClickHouse address is given.

    With `incremental`, a folder that all executors share, only what has come to the log since the last call is read
    from it, and the run may still go on: its closed windows are computed. Raises InputError for an unknown job,
    UnknownRunError, ProtocolError for a run that is not finished or has no closed window, SetupError.
    """
    jobs = [job_of(name) for name in names]
    told = on_progress or (lambda what, done, of: None)
    if session is None:
        told("starting Spark", 0, len(jobs) + 1)
        with spark_session(config, f"escape-{'-'.join(names)}") as made:
            return run_jobs(names, config, run, on_progress, made, incremental)
    told("reading the run's range", 0, len(jobs) + 1)
    newest: Records
    if incremental:
        extent, newest = landed_range(session, config, run, incremental)
    else:
        extent = run_range(config, run)
        newest = KafkaRecords(session, config, extent.extents[-1])
    ancestors = [(part, KafkaRecords(session, config, part)) for part in extent.extents[:-1]]
    log = RunLog([*ancestors, (extent.extents[-1], newest)], extent.time)
    return compute(jobs, log, extent, config, told, session)


def run_on_file(
    names: Sequence[str], config: JobConfig, path: str, on_progress: OnProgress | None, session: Any
) -> list[Outcome]:
    """Run jobs over an exported run. Raises InputError for a file that they cannot use, or an unknown job."""
    jobs = [job_of(name) for name in names]
    for job in jobs:
        if job.proves:
            raise InputError(job.name, path, "a file does not hold the stream's figures: `escape import` it first")
    told = on_progress or (lambda what, done, of: None)
    told("reading the file", 0, len(jobs) + 1)
    records = FileRecords(session, path)
    extent = file_range(records, path)
    return compute(jobs, RunLog([(extent.extents[0], records)], extent.time), extent, config, told, session)


def compute(
    jobs: Sequence[Job], log: RunLog, extent: RunRange, config: JobConfig, told: OnProgress, session: Any
) -> list[Outcome]:
    """Run jobs over what a log yields of a run, and publish."""
    booked = Booked(log, extent.time, extent.instruments)
    found = []
    for done, job in enumerate(jobs, 1):
        told(job.name, done, len(jobs) + 1)
        rows = job.compute(log, booked, extent.scenario, extent.windows).persist()
        count = publish(rows, config.clickhouse, extent.extents, job) if config.clickhouse else rows.count()
        shown = job.shown(rows)
        taken = [row.asDict() for row in shown.orderBy(*shown.columns[: len(job.keys)]).collect()]
        found.append(Outcome(job, count, bool(config.clickhouse), taken, Scales.of(extent.instruments)))
        rows.unpersist()
    session.catalog.clearCache()
    told("done", len(jobs) + 1, len(jobs) + 1)
    return found


def figures(outcomes: Iterable[Outcome]) -> list[Figure]:
    """The indicators that jobs have computed."""
    return [figure for outcome in outcomes for figure in outcome.figures]


def serve(options: JobSettings) -> None:
    """Run the job and print what it shows as JSON."""
    job_of(options.job)
    tables = ClickHouseConfig.from_dsn(options.clickhouse_url).dsn if options.clickhouse_url else ""
    config = JobConfig(
        options.bootstrap, options.namespace, tables, options.master or ("" if submitted() else "local[2]"),
        options.jars, os.environ.get("JAVA_HOME", ""), shuffle_partitions=options.shuffle_partitions,
    )  # fmt: skip
    with spark_session(config, f"escape-{options.job}") as session:
        if options.run is None:
            (outcome,) = run_on_file([options.job], config, options.file, _say, session)
        else:
            (outcome,) = run_jobs([options.job], config, options.run, _say, session, options.incremental)
    print(json.dumps(outcome.to_json()))
    outcome.check()


def _say(what: str, done: int, of: int) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_process(JobSettings, serve))

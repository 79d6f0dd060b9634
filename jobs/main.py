"""Jobs by name: `python -m jobs.main gdp --run RUN --bootstrap …`, also the main of spark-submit.

A job for a new indicator is one module with a function (source, booked, scenario, windows) -> rows, and a line in JOBS.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from economy.errors import EscapeError, InputError
from jobs import gdp, gini
from jobs.config import JobConfig
from jobs.postings import Booked
from jobs.session import spark_session
from jobs.source import RunLog, run_range
from jobs.writer import publish

OnProgress = Callable[[str, int, int], None]  # (what, done, of)
DSN: Final = "ESCAPE_CLICKHOUSE_URL"


@dataclass(frozen=True)
class Job:
    """A named transform; a change of what it computes needs a new version."""

    name: str
    version: int
    doc: str
    compute: Callable[..., Any]


JOBS: Final[Mapping[str, Job]] = {
    job.name: job
    for job in (
        Job("gdp", gdp.VERSION, "GDP by production, expenditure and income, with all components", gdp.gdp),
        Job("gini", gini.VERSION, "Gini coefficients and Lorenz curves of income and wealth", gini.gini),
    )
}


@dataclass(frozen=True)
class Figure:
    """One figure of one window."""

    job: str
    window: int
    indicator: str
    item: int
    value: int

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it: the value as a decimal string."""
        return {**self.__dict__, "value": str(self.value)}


def job_of(name: str) -> Job:
    """The job of a name. Raises InputError naming the ones that there are."""
    if name not in JOBS:
        raise InputError("job", name, f"known are {', '.join(JOBS)}")
    return JOBS[name]


def run_jobs(
    names: Sequence[str], config: JobConfig, run: int, on_progress: OnProgress | None = None, session: Any = None
) -> list[Figure]:
    """Run jobs over one run in one session, publish where a ClickHouse address is given, and return the figures.

    Raises InputError for an unknown job, UnknownRunError, ProtocolError for a run that is not finished, SetupError.
    """
    jobs = [job_of(name) for name in names]
    steps = len(jobs) + 1
    told = on_progress or (lambda what, done, of: None)
    told("reading the run's range", 0, steps)
    extent = run_range(config, run)
    if session is None:
        told("starting Spark", 0, steps)
        with spark_session(config, f"escape-{'-'.join(names)}") as started:
            return run_jobs(names, config, run, on_progress, started)
    log = RunLog(session, config, extent)
    booked = Booked(log, extent.time, extent.instruments)
    found: list[Figure] = []
    for done, job in enumerate(jobs, 1):
        told(job.name, done, steps)
        rows = job.compute(log, booked, extent.scenario, extent.windows).persist()
        if config.clickhouse:
            publish(rows, config.clickhouse, extent, job.name, job.version)
        # One row per window and indicator: as many as a person looks at.
        found += [Figure(job.name, r.window, r.indicator, r.item, int(r.value)) for r in rows.collect()]
        rows.unpersist()
    session.catalog.clearCache()
    told("done", steps, steps)
    return sorted(found, key=lambda f: (f.job, f.window, f.indicator, f.item))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the job, print its figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m jobs.main", description="Spark jobs over a finished run")
    parser.add_argument("job", choices=sorted(JOBS))
    parser.add_argument("--run", type=int, required=True, help="run id")
    parser.add_argument("--bootstrap", required=True, help="address of the broker")
    parser.add_argument("--namespace", default="escape", help="prefix of the topics")
    parser.add_argument("--master", default="local[2]", help="Spark master")
    parser.add_argument("--jars", default="", help="connector jars, comma-separated; empty where the cluster has them")
    options = parser.parse_args(arguments)
    config = JobConfig(options.bootstrap, options.namespace, os.environ.get(DSN, ""), options.master, options.jars)
    try:
        figures = run_jobs([options.job], config, options.run, lambda what, *_: print(what, file=sys.stderr))
    except EscapeError as error:
        print(f"escape: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps([figure.to_json() for figure in figures]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

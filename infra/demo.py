"""The main job: a real tape and a simulated economy through the real components, and what came out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from economy.accounts import Approach
from economy.calendar import QUARTERS
from economy.errors import AccountingError
from economy.numbers.decimals import RAW, beside, exact
from economy.scales import RATE_SCALE
from infra.stack import Attached, Stack
from jobs.config import JobConfig
from jobs.main import Figure, figures, run_jobs
from jobs.session import kill_jvm, spark_session
from queries.store import Store

JOBS: Final = ("gdp", "gini")
Key = tuple[int, str, int]  # window, indicator, item


class BackgroundSpark:
    """A Spark session that starts while something else goes on. Use as a context manager."""

    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._held = ExitStack()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="spark")
        self._session: Future[Any] | None = None

    def __enter__(self) -> BackgroundSpark:
        self._session = self._pool.submit(
            lambda: self._held.enter_context(spark_session(self._config, "escape-demo")),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            kill_jvm()  # also one that is still starting
        self._pool.shutdown(wait=True)
        self._held.__exit__(kind, error, trace)

    def run(self, run: int, told: Callable[[str, int, int], None]) -> list[Figure]:
        """All jobs of the demo over a finished run."""
        assert self._session is not None
        told("starting Spark", 0, len(JOBS) + 1)
        return figures(run_jobs(JOBS, self._config, run, told, self._session.result()))


@dataclass(frozen=True)
class Year:
    """One year of a run: GDP per approach in 1e-8 of the currency, the rest at or over its end, in 1e-9."""

    year: int
    gdp: dict[str, int]
    gini_income: int
    gini_wealth: int
    unemployment: int

    def to_json(self) -> dict[str, Any]:
        """Exact decimals, with their integers beside them."""
        gdp = {f"gdp_{name}": value for name, value in self.gdp.items()}
        ratios = ("gini_income", "gini_wealth", "unemployment")
        told: dict[str, Any] = {"year": self.year, "gdp": {name: exact(value) for name, value in gdp.items()}}
        told[f"gdp{RAW}"] = {name: str(value) for name, value in gdp.items()}
        for name in ratios:
            told |= beside(name, getattr(self, name), RATE_SCALE)
        return told


def stream_figures(stack: Stack | Attached, run: int) -> dict[Key, int]:
    """What the streaming projection computed, as ClickHouse holds it."""
    assert stack.reader is not None
    with Store(stack.reader) as store:
        rows = store.rows(
            "SELECT window, indicator, item, toString(value) AS value FROM stream_indicators FINAL "
            "WHERE run = {run:Int64}",
            {"run": run},
        )
    return {(row["window"], row["indicator"], row["item"]): int(row["value"]) for row in rows}


def compare(stream: dict[Key, int], batch: Sequence[Figure]) -> int:
    """Number of figures that stream and batch have computed alike. Raises AccountingError naming one that differs."""
    if not batch:
        raise AccountingError("the batch jobs computed nothing", "verify the run")
    for figure in batch:
        ours = stream.get((figure.window, figure.indicator, figure.item))
        if ours != figure.value:
            raise AccountingError(
                f"{figure.indicator} {figure.item} of window {figure.window} is {ours} by the stream and "
                f"{figure.value} by the batch job {figure.job}", "verify the run",
            )  # fmt: skip
    return len(batch)


def years_of(figures: dict[Key, int]) -> list[Year]:
    """The whole years of a run."""
    windows = 1 + max((window for window, _, _ in figures), default=-1)
    found = []
    for year in range(windows // QUARTERS):
        quarters = range(year * QUARTERS, (year + 1) * QUARTERS)
        gdp = {a.value: sum(figures[w, f"gdp_{a.value}", 0] for w in quarters) for a in Approach}
        last = quarters[-1]
        jobless = sum(figures[w, "unemployment", 0] for w in quarters) // QUARTERS
        found.append(
            Year(year + 1, gdp, figures[last, "gini_income", 0], figures[last, "gini_wealth", 0], jobless)
        )  # fmt: skip
    return found

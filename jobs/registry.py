"""The jobs by name. One for a new indicator is a module, a line here and, for a table of its own, a migration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from economy.errors import InputError
from jobs import activity, agent_performance, gdp, gini, liquidity, price_stability, reconcile

Transform = Callable[..., Any]  # (source, booked, scenario, windows) -> rows of the table, without the lineage
_FIGURE: Final = ("window", "indicator", "item")


def _all(rows: Any) -> Any:
    return rows


@dataclass(frozen=True)
class Job:
    """A named transform and the table that it fills; a change of what it computes needs a new version.

    `keys` identify a row of a run. `shown` are the rows that the command prints: as many at any number of agents.
    """

    name: str
    version: int
    doc: str
    compute: Transform
    table: str = "batch_indicators"
    keys: tuple[str, ...] = _FIGURE
    shown: Callable[[Any], Any] = _all
    proves: bool = False  # a shown row is a disagreement

    def to_json(self) -> dict[str, Any]:
        """As `escape job list` prints it."""
        return {"name": self.name, "version": self.version, "table": self.table, "computes": self.doc}


JOBS: Final[Mapping[str, Job]] = {
    job.name: job
    for job in (
        Job("gdp", gdp.VERSION, "GDP by production, expenditure and income, with all components; real GDP", gdp.gdp),
        Job("gini", gini.VERSION, "Gini coefficients and Lorenz curves of households' income and wealth", gini.gini),
        Job(
            "activity", activity.VERSION,
            "Trades, turnover, closing and consumer prices, unemployment, government debt, bankruptcies",
            activity.activity,
        ),
        Job(
            "liquidity", liquidity.VERSION,
            "Spread, depth, turnover, Amihud's illiquidity and Kyle's price impact of each instrument",
            liquidity.liquidity, "liquidity", liquidity.KEYS,
        ),
        Job(
            "price-stability", price_stability.VERSION,
            "Inflation, realised volatility and maximum drawdown of each instrument's price",
            price_stability.price_stability, "price_stability", price_stability.KEYS,
        ),
        Job(
            "agent-performance", agent_performance.VERSION,
            "Net worth, its growth, trades and volume of each agent; printed by role",
            agent_performance.agent_performance, "agent_performance", agent_performance.KEYS,
            agent_performance.by_role,
        ),
        Job(
            "reconcile", reconcile.VERSION,
            "Stream against batch for every indicator and window; prints what differs, and then exits with 5",
            reconcile.reconcile, "reconciliation", reconcile.KEYS, reconcile.disagreements, True,
        ),
    )
}  # fmt: skip


def job_of(name: str) -> Job:
    """The job of a name. Raises InputError naming the ones that there are."""
    if name not in JOBS:
        raise InputError("job", name, f"known are {', '.join(JOBS)}")
    return JOBS[name]

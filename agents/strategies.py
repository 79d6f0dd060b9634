"""The strategies that agents can follow, by role: one line each, and what it does in the role's module.

RULE is everybody's own at the start, described in docs/decisions.md. Every decision records the strategy it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from economy.records.events import Role, Strategy


@dataclass(frozen=True)
class Option:
    """A strategy of one role."""

    role: Role
    strategy: Strategy
    what: str

    @property
    def name(self) -> str:
        """As people write it."""
        return self.strategy.name.lower()


OPTIONS: Final = (
    Option(Role.CORPORATION, Strategy.RULE, "mark-up that answers to stocks (Caiani et al. 2016)"),
    Option(Role.CORPORATION, Strategy.FULL_COST, "normal mark-up on unit cost at any demand (Hall and Hitch 1939)"),
    Option(Role.HOUSEHOLD, Strategy.RULE, "values shares by their dividends, with noise"),
    Option(
        Role.HOUSEHOLD, Strategy.CHARTIST, "extrapolates the last change of a share's price (Brock and Hommes 1998)"
    ),
    Option(Role.HOUSEHOLD, Strategy.BUY_AND_HOLD, "never trades the shares that it has (Sharpe 1991)"),
    Option(Role.MARKET_MAKER, Strategy.RULE, "quotes by inventory and flow, pulled to the fundamental"),
    Option(Role.MARKET_MAKER, Strategy.INVENTORY, "quotes by inventory and flow alone (Amihud and Mendelson 1980)"),
    Option(Role.CENTRAL_BANK, Strategy.RULE, "Taylor rule with smoothing and an unemployment term"),
    Option(Role.CENTRAL_BANK, Strategy.INFLATION_TARGETING, "answers to inflation alone, at once (Svensson 1997)"),
)


def strategies_of(role: Role) -> dict[str, Strategy]:
    """Strategies of a role by name; empty for a role that has no choice."""
    return {option.name: option.strategy for option in OPTIONS if option.role == role}

"""Every component killed with -9 while a village runs: one digest, each event stored once, GraphQL answers again."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from agents.village import VillageModel
from bench.theatre import COMPONENTS, Theatre, chosen
from economy.scenario import load_scenario
from runs.local import run_local
from tests.chaos.held import check_indicators, check_published, check_tables
from tests.integration.commands import escape

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(1800)]
SMALL = {"calendar.rounds": "2", "targets.debt_ratio": "3.0"}
LENGTHS = {False: "240", True: "60"}  # ticks of an epoch: 4 seconds or 1 at pace 1, so that kills find the run going on


def disturbed(folder: Path, dice: random.Random, years: int, singles: int, pairs: int, pause: float) -> str:
    """A run during which components are killed at random moments, checked in every respect; what happened, as JSON."""
    ticks, began = LENGTHS[pairs > 0], time.monotonic()
    scenario = SMALL | {"years": str(years), "calendar.epoch_ticks": ticks}
    seed = dice.randrange(100)
    expected = run_local(VillageModel(load_scenario("village", scenario), seed)).digest
    with Theatre(folder, scenario, seed) as theatre:
        for components in chosen(dice, singles, pairs):
            time.sleep(dice.uniform(0, pause))
            theatre.kill(*components, pick=dice.choice)
            if pairs:  # the next must not hide that this one was not overcome
                theatre.recover()
        theatre.hurry()
        result = theatre.result()
        assert result["digest"] == expected
        run, stack = theatre.run, theatre.stack
        rows, figures = check_tables(stack, run), check_indicators(stack, run)
        code, _, err = escape(
            "job", "gdp", f"--run={run}", "--incremental", "--json", cwd=None, timeout=1200, **theatre.where
        )
        assert code == 0, err
        published = check_published(stack, run)
        told = theatre.ask(f"{{ run(id: {run}) {{ digest }} }}")
        assert told == {"data": {"run": {"digest": expected}}}
        assert set(theatre.killed) == set(COMPONENTS)
        return json.dumps(
            {
                "kills": sum(theatre.killed.values()), "by_component": theatre.killed, "pairs": pairs,
                "longest_seconds_until_back": {name: round(max(s), 1) for name, s in theatre.seconds.items()},
                "digest_equal": True, "epochs": result["ticks"] // int(ticks), "orders": result["orders"],
                "rows_stored_once": sum(rows.values()), "tables": len(rows), "figures": figures,
                "figures_by_spark": published, "seconds": round(time.monotonic() - began),
            }
        )  # fmt: skip


def test_each_component_killed_once(tmp_path: Path) -> None:
    disturbed(tmp_path, random.Random(1), years=10, singles=len(COMPONENTS), pairs=0, pause=1.0)


@pytest.mark.soak
def test_random_kills_one_at_a_time_and_in_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SOAK_SEED repeats the choices of an earlier soak."""
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1_000_000))
    with capsys.disabled():
        print(f"\nSOAK_SEED={seed}")
        told = disturbed(tmp_path, random.Random(seed), years=20, singles=14, pairs=8, pause=3.0)
        print(told)

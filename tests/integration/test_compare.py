"""Two runs compared, and many swept, against what the runs themselves give."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy import stats

from agents.cluster import VITAL
from agents.registry import VILLAGE
from agents.village import VillageModel
from economy.errors import InputError, ScenarioError, SetupError
from economy.scenario import load_scenario
from infra.broker import Broker
from runs.compare import compare_runs, render
from runs.compare_page import write_page
from runs.derived import read_derived
from runs.divergence import ORDER
from runs.sweep import Cell, grid, outcome_of, sweep, to_json, windows_of
from tests.integration.written import Written

pytestmark = pytest.mark.integration
SHORT = {"years": "1", "calendar.rounds": "4", "population.households": "120"}


def village(seed: int) -> VillageModel:
    return VillageModel(load_scenario("village", SHORT), seed)


@pytest.fixture(scope="module")
def names(broker: Broker) -> str:
    for run, seed in ((7, 3), (8, 4)):
        Written(broker.bootstrap, "compared", village(seed), VILLAGE, run=run)
    Written(broker.bootstrap, "compared", village(3), VILLAGE, run=9, changes={30: [("income_tax", "0.6")]})
    return "compared"


def test_a_run_and_itself(broker: Broker, names: str) -> None:
    found = compare_runs(broker.bootstrap, names, 7, 7)
    assert found.event is None
    assert found.shared == 79
    assert {change for _, change in found.gains()} == {0}
    assert "no event differs" in render(found)


def test_a_change_is_seen_in_figures_worth_and_the_first_event(broker: Broker, names: str, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    found = compare_runs(broker.bootstrap, names, 7, 9, lambda done, total: heard.append((done, total)))
    assert heard[-1][0] >= heard[-1][1] == 160
    assert (found.shared, found.epoch) == (-2, 30)
    assert found.event is not None
    assert found.event[0] in ORDER
    for run, account in ((7, found.a), (9, found.b)):
        recorded = read_derived(broker.bootstrap, names, run)
        assert account.figures == recorded.figures
    assert found.series("gini_income")[0][0] == found.series("gini_income")[1][0]  # before the change
    assert found.series("gini_income")[0][-1] != found.series("gini_income")[1][-1]
    gains = found.gains()
    assert [change for _, change in gains] == sorted((change for _, change in gains), reverse=True)
    told = found.to_json()
    assert told["first_difference"]["epoch"] == 30
    gained = sum(int(a["difference_raw"]) for a in told["net_worth"])
    assert gained == int((found.b.worth - found.a.worth).sum())
    assert sum(Decimal(a["difference"]) for a in told["net_worth"]) == Decimal(gained) / 10**8
    price = next(f for f in told["figures"] if f["indicator"] == "closing_price")
    assert Decimal(price["a"]) == Decimal(price["a_raw"]) / 10**4
    for text in ("gained most", "first difference: epoch 30", "closing price"):
        assert text in render(found)
    page = write_page(found, tmp_path / "page" / "c.html").read_text()
    assert page.count('class="chart"') == 7
    assert 'src="http' not in page


def test_other_seeds_differ_from_the_start(broker: Broker, names: str) -> None:
    found = compare_runs(broker.bootstrap, names, 7, 8)
    assert found.event is not None
    assert found.epoch <= 0
    with pytest.raises(InputError):
        compare_runs(broker.bootstrap, names, 7, 10)


def test_a_sweep_gives_what_single_runs_give(tmp_path: Path) -> None:
    settings = {key: [value] for key, value in SHORT.items()} | {"firms.payout": ["0.4", "0.8"]}
    heard: list[tuple[int, int]] = []
    cells = sweep("village", settings, [1, 2], tmp_path, told=lambda done, total: heard.append((done, total)))
    assert [cell.values["firms.payout"] for cell in cells] == ["0.4", "0.8"]
    told = VillageModel(load_scenario("village", cells[1].values), 2).scenario_json()  # no file: it is on one machine
    assert cells[1].outcomes[1] == outcome_of(told, 2)
    assert heard[-1] == (4, 4)
    assert cells[0].outcomes != cells[1].outcomes
    assert len(to_json(cells, [1, 2])["cells"]) == 2
    with pytest.raises(ScenarioError):
        sweep("village", {"firms.payouts": ["1"]}, [1], tmp_path)
    last = list(windows_of(village(2)))[-1]
    assert last.window == 3


@pytest.mark.chaos
@pytest.mark.parametrize("name", [*VITAL, "runs.sweephost"])
def test_a_sweep_whose_ray_ends_says_so(tmp_path: Path, name: str) -> None:
    """The raylet's end would end the process of its driver without a word, so that one is nobody else's."""

    def kill(done: int, total: int) -> None:
        (driver,) = [child for child in psutil.Process().children() if "runs.sweephost" in child.cmdline()]
        for process in [driver, *driver.children(recursive=True)]:
            if process.name() == name or name in process.cmdline():
                process.kill()

    with pytest.raises(SetupError, match=r"Ray ended when 0 of 2 runs were done .*: give the command again"):
        sweep("village", {"years": ["20"]}, [1, 2], tmp_path, told=kill)


def test_confidence_intervals_are_students() -> None:
    values = [3.0, 4.5, 5.0, 7.25]
    cell = Cell({}, [{"x": value} for value in values])
    mean, half = cell.estimate("x")
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert cell.estimate("x", cell) == (0.0, 0.0)
    assert math.isnan(Cell({}, [{"x": 1.0}]).estimate("x")[1])
    assert len(grid({"a": ["1", "2"], "b": ["x", "y", "z"]})) == 6
    assert grid({}) == [{}]

"""Bad scenarios are refused by naming the field, the value and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from economy.errors import ScenarioError
from economy.scenario import build_scenario, load_scenario, scenario_from_json


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"firms.payuot": "0.4"}, "firms.payuot"),
        ({"firms.payout": "-0.4"}, "firms.payout"),
        ({"firms.payout": '"much"'}, "firms.payout"),
        ({"years": "0"}, "years"),
        ({"nothing.at.all": "1"}, "nothing.at.all"),
        ({"products.4.consumption": "0.9"}, "products.*.consumption"),
        ({"products.4.recipe": "{ gold = 0.1 }"}, "products.4.recipe.gold"),
        ({"products.4.recipe": "{ food = 0.1 }"}, "products.4.recipe.food"),
        ({"products.4.recipe": "{ grain = 0.99, energy = 0.2 }"}, "products.4.recipe"),
        ({"products.3.recipe": "{ ore = 0.2 }"}, "products.*.recipe"),  # ore needs energy needs ore
        ({"products.8.capital": "false"}, "products.*.capital"),
    ],
)
def test_the_field_is_named(overrides: dict[str, str], field: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_scenario("village", overrides)
    assert caught.value.field == field
    assert caught.value.remedy


def test_unknown_scenarios_and_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="village"):
        load_scenario("hamlet")
    broken = tmp_path / "broken.toml"
    broken.write_text("years = ")
    with pytest.raises(ScenarioError, match="TOML"):
        load_scenario(str(broken))
    with pytest.raises(ScenarioError) as caught:
        build_scenario({"name": "empty"})
    assert caught.value.remedy.startswith("add it")


def test_a_scenario_survives_its_json() -> None:
    scenario = load_scenario("village", {"years": "3"})
    assert scenario_from_json(scenario.canonical_json()) == scenario
    assert scenario.time.last_epoch == 599

"""Scenarios: every parameter of a run, with its unit and range, read from TOML and checked before anything starts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from economy.calendar import Calendar
from economy.errors import ScenarioError
from economy.tomltext import parse_toml

_SHOWN: Final = 80  # characters of a text that is no scenario
RULES_VERSION: Final = 1  # of the behaviour: a change of any rule needs a new one


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _f(low: float, high: float, doc: str) -> Any:
    return Field(ge=low, le=high, description=doc)


Share = Annotated[float, Field(ge=0, le=1)]


class CalendarConfig(_Frozen):
    """Lengths of time; market impact and all speeds per round are tuned for epochs of 20 ticks."""

    epoch_ticks: int = _f(1, 10_000, "ticks per epoch")
    rounds: int = _f(2, 100, "rounds (decision intervals of five epochs) per quarter")


class ProductConfig(_Frozen):
    """One product: its recipe is the cost share of every input at base prices (all prices 1)."""

    name: str = Field(min_length=1, max_length=40, description="name for people")
    kind: Literal["good", "service"] = Field(description="goods can be stocked, services are produced when sold")
    firms: int = _f(1, 10_000, "corporations making it")
    recipe: dict[str, Share] = Field(default_factory=dict, description="input per unit of output")
    consumption: Share = Field(default=0.0, description="share of household spending at base prices")
    government: Share = Field(default=0.0, description="share of government purchases at base prices")
    capital: bool = Field(default=False, description="the machines that all producers invest in")


class PopulationConfig(_Frozen):
    """Numbers of agents besides the firms."""

    households: int = _f(10, 1_000_000, "households, each with one worker")
    market_makers: int = _f(1, 100, "market makers for the listed shares")
    listed: int = _f(0, 1_000, "listed corporations, those with the largest value added")


class TargetConfig(_Frozen):
    """Targets of the steady state from which a run starts."""

    unemployment: float = _f(0.0, 0.5, "share of workers without a job")
    labour_share: float = _f(0.1, 0.95, "wages / gross value added")
    government_share: float = _f(0.0, 0.6, "government purchases / GDP at market prices")
    capital_ratio: float = _f(0.0, 10.0, "fixed capital / yearly value added")
    debt_ratio: float = _f(0.05, 5.0, "government debt (= money) / yearly GDP")
    inflation: float = _f(-0.05, 0.2, "per year")
    growth: float = _f(-0.05, 0.1, "labour productivity, per year")
    wage: float = _f(0.01, 1e6, "currency per efficiency unit and round at the start")
    depreciation: float = _f(0.0, 0.5, "of fixed capital, per year")
    utilisation: float = _f(0.1, 1.0, "normal output / capacity; above 1 the capital stock could not carry the economy")
    vat: float = _f(0.0, 1.0, "value added tax on consumption, on top of the price")
    profit_tax: float = _f(0.0, 0.9, "on positive profit")
    replacement: float = _f(0.0, 1.0, "benefit / last gross wage")
    real_rate: float = _f(-0.05, 0.2, "neutral real interest rate, per year")
    deposit_spread: float = _f(0.0, 0.2, "policy rate less deposit rate, per year")
    government_buffer: float = _f(0.1, 20.0, "government account / purchases of a round")
    maker_capital: float = _f(0.0, 0.2, "market makers' deposits / yearly GDP")


class FirmConfig(_Frozen):
    """Corporations: expectations, stocks, prices, investment, exit."""

    cover_out: float = _f(0.1, 20, "finished stock aimed at, rounds of sales")
    cover_in: float = _f(0.1, 20, "input stock aimed at, rounds of use")
    liquidity: float = _f(0.5, 50, "deposits aimed at, rounds of wages and inputs")
    payout: float = _f(0.0, 1, "share of deposits above target paid out per quarter")
    sales_speed: float = _f(0.001, 1, "adaptive expectations, per round")
    long_speed: float = _f(0.001, 1, "same for capacity")
    stock_rounds: float = _f(1, 200, "rounds to close a gap of finished stock")
    input_rounds: float = _f(1, 200, "rounds to close a gap of input stock")
    capital_rounds: float = _f(1, 1000, "rounds to close a gap of capital")
    service_slack: float = _f(0.85, 1, "planned sales / capacity of a service; outside .85-1 services run away")
    review: float = _f(0.01, 1, "probability of a price review per round (Calvo)")
    markup_speed: float = _f(0, 0.2, "mark-up response to the stock gap, per round")
    markup_return: float = _f(0, 1, "return of the mark-up to its normal value, per round")
    price_speed: float = _f(0.01, 1, "share of the log gap closed by a review")
    stretch: float = _f(0, 0.2, "output above plan where hired labour would be idle")
    reserve_tranche: float = _f(0, 0.9, "share of a storable offer held at the reserve price")
    critical: float = _f(0, 1, "inputs below this share of cost do not stop production at once")
    defer: float = _f(0, 100, "rounds of use of a non-critical input that may be owed")
    exit_share: float = _f(0, 1, "a firm below this share of its product's mean firm leaves")
    exit_wages: float = _f(0, 1, "so does one whose deposits are below this share of its wage bill")
    exit_rounds: int = _f(1, 100, "rounds in a row that either must hold")
    grace_rounds: int = _f(0, 1000, "rounds in which a successor cannot leave for its size and may grow fast")
    rate_investment: float = _f(0, 20, "fall of log investment per unit of real rate above neutral")


class LabourConfig(_Frozen):
    """Hiring, dismissals and wages."""

    fire_speed: float = _f(0, 1, "share of excess labour dismissed per round")
    fire_band: float = _f(0, 1, "excess over need that is tolerated")
    hiring_lead: float = _f(0, 0.5, "jobs offered beyond present need, since hiring takes a round")
    quit: float = _f(0, 0.2, "probability that a worker quits, per round")
    search: int = _f(1, 16, "vacancies seen by an unemployed worker")
    hoarding: float = _f(0, 0.3, "idle labour kept on average")
    wage_unemployment: float = _f(0, 2, "wage growth per quarter per unit of unemployment gap")
    wage_vacancies: float = _f(0, 1, "wage growth per quarter per unit of vacancy share")
    wage_pull: float = _f(0, 1, "wage growth per quarter per unit of gap to the market wage")
    indexation: float = _f(0, 2, "weight of expected inflation in wage growth")
    anchor: float = _f(0, 1, "weight of the target in expected inflation")
    skill_sigma: float = _f(0, 2, "standard deviation of log skill")


class HouseholdConfig(_Frozen):
    """Consumption and wealth."""

    income_propensity: float = _f(0.1, 1, "propensity to consume out of expected income")
    income_speed: float = _f(0.001, 1, "adaptive expectations of income, per round")
    rate_consumption: float = _f(0, 10, "fall of the propensity per unit of real rate above neutral")
    wealth_sigma: float = _f(0, 4, "standard deviation of log share ownership at the start")
    owners: float = _f(0, 1, "share of households that may own shares at the start")
    urgency: float = _f(1, 5, "reservation price / valuation price")


class PolicyConfig(_Frozen):
    """Central bank and government rules."""

    taylor_inflation: float = _f(0, 5, "response of the rate to inflation")
    taylor_unemployment: float = _f(0, 5, "response of the rate to the unemployment gap")
    taylor_smoothing: float = _f(0, 0.99, "weight of the old rate")
    fiscal_spending: float = _f(0, 5, "cut of real purchases per unit of debt-ratio gap")
    fiscal_tax: float = _f(0, 5, "rise of the income tax rate per unit of debt-ratio gap")
    fiscal_unemployment: float = _f(0, 5, "fall of it per unit of unemployment above target")
    unemployment_speed: float = _f(0.01, 1, "smoothing of published unemployment, per round")


class LuckConfig(_Frozen):
    """First-order autoregressive shocks, per round."""

    productivity_sd: float = _f(0, 0.2, "innovation of log firm productivity")
    productivity_rho: float = _f(0, 0.9999, "its persistence")
    taste_sd: float = _f(0, 0.2, "innovation of log basket weights")
    taste_rho: float = _f(0, 0.9999, "its persistence")
    confidence_sd: float = _f(0, 0.2, "innovation of the log propensity to consume, common")
    confidence_rho: float = _f(0, 0.9999, "its persistence")
    spirit_sd: float = _f(0, 0.2, "innovation of log investment of a firm (animal spirits)")
    spirit_rho: float = _f(0, 0.9999, "its persistence")


class StockConfig(_Frozen):
    """Share trading by a simple rule."""

    equity_return: float = _f(0, 0.5, "required return on shares, per year")
    activity: float = _f(0, 1, "share of owners who act per round")
    valuation_sd: float = _f(0, 1, "spread of private valuations, log")
    half_spread: float = _f(0, 0.2, "market makers' half spread")
    band_bp: int = Field(default=0, ge=0, le=10_000, description="price band of a share, 0.0001 of its reference")
    breaker_bp: int = Field(default=0, ge=0, le=10_000, description="a trade further away halts the share, 0.0001")
    halt_ticks: int = Field(default=0, ge=0, le=10_000, description="length of the call behind a halt")
    open_ticks: int = Field(default=0, ge=0, le=10_000, description="length of the call before a share opens")
    auction_pressure: bool = Field(default=False, description="auctions weigh the side of the surplus, as exchanges do")


class Scenario(_Frozen):
    """A whole scenario. Frozen; unknown keys are refused; every default stands in the scenario's file, none here."""

    name: str = Field(min_length=1, max_length=60, description="name of the scenario")
    years: int = _f(1, 200, "length of the run in years")
    calendar: CalendarConfig
    population: PopulationConfig
    targets: TargetConfig
    firms: FirmConfig
    labour: LabourConfig
    households: HouseholdConfig
    policy: PolicyConfig
    luck: LuckConfig
    stocks: StockConfig
    products: Annotated[tuple[ProductConfig, ...], Field(min_length=2, strict=False)]

    @property
    def time(self) -> Calendar:
        """The run's calendar."""
        return Calendar(self.calendar.epoch_ticks, self.calendar.rounds, self.years)

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch."""
        return self.time.last_epoch

    @property
    def capital_good(self) -> int:
        """Index of the product that serves as fixed capital."""
        return next(i for i, p in enumerate(self.products) if p.capital)

    def canonical_json(self) -> str:
        """The scenario as JSON with sorted keys and no spaces: what RunStarted carries."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def scenario_from_json(text: str) -> Scenario:
    """The scenario of a RunStarted record. Raises ScenarioError for a text that is none, whatever it is."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScenarioError("scenario", text[:_SHOWN], f"it is not the JSON of a scenario: {error}") from None
    if not isinstance(data, dict):
        raise ScenarioError("scenario", text[:_SHOWN], "it is not the JSON of a scenario: give an object")
    return build_scenario(data)


def build_scenario(data: Mapping[str, Any]) -> Scenario:
    """A checked scenario from plain data; ScenarioError names the field, the value and the remedy."""
    try:
        scenario = Scenario.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "scenario"
        if first["type"] == "extra_forbidden":
            raise ScenarioError(field, first["input"], "remove it or correct its spelling: no such parameter") from None
        if first["type"] == "missing":
            raise ScenarioError(field, None, "add it: the scenario must give every parameter") from None
        raise ScenarioError(field, first["input"], first["msg"].lower()) from None
    _check_products(scenario)
    return scenario


def _check_products(scenario: Scenario) -> None:
    """Shares that must add up, one capital good, known inputs, no cycle among critical inputs."""
    names = [p.name for p in scenario.products]
    for i, product in enumerate(scenario.products):
        where = f"products.{i}.recipe"
        if names.index(product.name) != i:
            raise ScenarioError(f"products.{i}.name", product.name, "give every product its own name")
        for item in product.recipe:
            if item not in names:
                raise ScenarioError(f"{where}.{item}", product.recipe[item], "name a product of this scenario")
            if item == product.name:
                raise ScenarioError(f"{where}.{item}", product.recipe[item], "a product cannot be its own input")
        if sum(product.recipe.values()) >= 1:
            raise ScenarioError(where, dict(product.recipe), "inputs must cost less than the product: lower the sum")
    for share in ("consumption", "government"):
        total = sum(getattr(p, share) for p in scenario.products)
        if abs(total - 1) > 1e-9:
            raise ScenarioError(f"products.*.{share}", total, "the shares of all products must add up to 1")
    machines = [p.name for p in scenario.products if p.capital]
    goods = [p.name for p in scenario.products if p.capital and p.kind == "good"]
    if len(machines) != 1 or len(goods) != 1:
        raise ScenarioError("products.*.capital", machines, "mark exactly one good as the capital good")
    critical = {
        p.name: [
            q.name for q in scenario.products if q.kind == "good" and p.recipe.get(q.name, 0) >= scenario.firms.critical
        ]
        for p in scenario.products
    }
    done: set[str] = set()
    while len(done) < len(names):
        ready = [n for n in names if n not in done and all(i in done for i in critical[n])]
        if not ready:
            ring = sorted(set(names) - done)
            raise ScenarioError(
                "products.*.recipe",
                ring,
                "critical inputs form a cycle that cannot restart once stocks are gone: lower one below firms.critical",
            )
        done.update(ready)


def _override(data: dict[str, Any], key: str, text: str) -> None:
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *path, last = key.split(".")
    place: Any = data
    for part in path:
        try:
            place = place[int(part)] if isinstance(place, list) else place[part]
        except (KeyError, ValueError, IndexError):
            raise ScenarioError(key, text, "no such parameter: see the scenario's file for the names") from None
    if isinstance(place, list) or not isinstance(place, dict):
        raise ScenarioError(key, text, "no such parameter: see the scenario's file for the names")
    place[last] = value


def scenario_names() -> list[str]:
    """Scenarios that come with the package."""
    folder = resources.files("economy") / "scenarios"
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))


def load_scenario(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Scenario:
    """Load a scenario by name (one that comes with the package) or by path of a TOML file.

    `overrides` maps dotted keys to TOML values, for example {"years": "2", "firms.payout": "0.4"}.
    Errors: ScenarioError for an unknown scenario, bad TOML, an unknown key, a wrong type, a value out of range.
    """
    if name_or_path in scenario_names():
        content = (resources.files("economy") / "scenarios" / f"{name_or_path}.toml").read_bytes()
    else:
        path = Path(name_or_path)
        if not path.is_file():
            known = ", ".join(scenario_names())
            raise ScenarioError("scenario", name_or_path, f"give the path of a TOML file or one of: {known}")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ScenarioError("scenario", name_or_path, f"it cannot be read: {error.strerror}") from error
    try:
        data = parse_toml(content)
    except ValueError as error:
        raise ScenarioError("scenario", name_or_path, str(error)) from None
    for key, value in (overrides or {}).items():
        _override(data, key, value)
    return build_scenario(data)

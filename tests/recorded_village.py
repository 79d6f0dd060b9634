"""A real run of the village in the tables: what the stream would have written there, from the local carrier."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.village import VillageModel
from economy.indicators import WindowProjection
from economy.records import events as e
from economy.records.events import Events, Role, Rows
from economy.scenario import load_scenario
from runs.local import run_local
from schemas.clickhouse import TABLES

Row = dict[str, Any]


def records(name: str, rows: Rows, start: int = 0) -> list[Row]:
    """Event rows as rows of their table."""
    fields = TABLES[name].columns[: rows.shape[1]]
    return [
        {f.name: f.symbols[value] if f.symbols else value for f, value in zip(fields, row, strict=True)}
        | {"kafka_partition": 0, "kafka_offset": start + i}
        for i, row in enumerate(rows.tolist())
    ]


def recorded_village(run: int, seed: int, overrides: dict[str, str]) -> dict[str, list[Row]]:
    """Table name -> rows of a run with a scenario's parameters set otherwise."""
    model = VillageModel(load_scenario("village", overrides), seed)
    _, founded = model.opening(run)
    roles = {int(record["agent"]): Role[record["role"].upper()] for name, record in founded if name == "AgentFounded"}
    projection = WindowProjection(
        run, model.scenario, np.array([roles[a] for a in sorted(roles)], np.int64), model.instruments()
    )
    found: dict[str, list[Row]] = {"instrument_listed": [], "agent_founded": [], "stream_indicators": []}

    def keep(epoch: int, events: Events) -> None:
        for name, rows in events.items():
            if name in TABLES:
                table = found.setdefault(TABLES[name].name, [])
                table += records(name, rows, len(table))
        window = projection.feed(epoch, events)
        if window is not None:
            balances = found.setdefault("balance_recorded", [])
            balances += records(e.BalanceRecorded.name, window.balances, len(balances))
            found["stream_indicators"] += [
                {"run": run, "window": window.window, "indicator": name, "item": item, "value": value}
                for (name, item), value in window.figures.items()
            ]

    result = run_local(model, run, on_epoch=keep)
    for n, (name, record) in enumerate(founded):
        if name == "AgentFounded":
            found["agent_founded"].append({**record, "kafka_partition": 0, "kafka_offset": n})
    for instrument in model.instruments():
        place = {"kafka_partition": 0, "kafka_offset": instrument.instrument}
        found["instrument_listed"].append({**instrument.record(run), **place})
    found["runs"] = [
        {
            "run": run, "scenario": "village", "seed": seed, "state": "stored", "digest": result.digest,
            "epochs": model.last_epoch + 1, "ticks": result.ticks, "shards": 1, "partitions": 1, "flow_partitions": 1,
            "epoch_ticks": model.epoch_ticks, "parent": 0, "parent_epoch": -1, "config": model.scenario_json(),
            "environment": "{}", "start_offsets": "{}", "end_offsets": "{}", "version": 1,
        }
    ]  # fmt: skip
    return {name: rows for name, rows in found.items() if rows}

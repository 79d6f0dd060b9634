"""`python -m bench.market`: all figures of the market with their peers and targets, as JSON or as a table."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.market import epochs, kernel, lab, live, preloaded, recovery, scale, stages, table
from bench.market.generator import step_of
from bench.market.stats import median, spread
from economy.errors import EscapeError, InputError
from infra.broker import Broker

RATE: Final = 100_000
_HIGHER: Final = (600_000, 700_000, 800_000, 1_000_000)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 60.0
    quick: bool = False

    @property
    def orders(self) -> int:
        return 1_000_000 if self.quick else 2_000_000


def _kernel(plan: Plan, broker: Broker, folder: Path) -> Any:
    return kernel.measure(200_000 if plan.quick else 500_000, plan.rounds)


def _preloaded(plan: Plan, broker: Broker, folder: Path) -> Any:
    preloaded.ours(broker.bootstrap, folder, plan.orders)  # warms the broker
    found = preloaded.measure(broker.bootstrap, folder, plan.orders, plan.rounds)
    return {
        "orders": plan.orders, "records_written": int(found["written"][0]),
        "orders_per_second": round(median(found["rate"])), "spread": spread(found["rate"]),
        "worker_cpu_us": round(median(found["cpu_us"]), 3), "relay_per_second": round(median(found["relay"])),
        "relay_spread": spread(found["relay"]),
        "times_relay": round(median([a / b for a, b in zip(found["rate"], found["relay"], strict=True)]), 2),
    }  # fmt: skip


def _at(plan: Plan, broker: Broker, folder: Path, rate: int, seconds: float) -> dict[str, Any]:
    return live.measure(broker, folder, rate, seconds).told() | {"seconds": seconds}


def _live(plan: Plan, broker: Broker, folder: Path) -> Any:
    live.measure(broker, folder, 3 * RATE, 5.0)  # warms the broker
    rows = [_at(plan, broker, folder, rate, plan.seconds) for rate in (RATE, 5 * RATE)]
    for rate in () if plan.quick else _HIGHER:
        if not rows[-1]["held"]:
            break
        rows.append(_at(plan, broker, folder, rate, plan.seconds / 4))
    return rows


def _latency(plan: Plan, broker: Broker, folder: Path) -> Any:
    found = [_at(plan, broker, folder, 1_000, min(10.0, plan.seconds)) for _ in range(plan.rounds)]
    told = {name: round(median([one[name] for one in found]), 1) for name in ("p50_ms", "p95_ms", "p99_ms")}
    return {"rate": 1_000, **told, "cpu_us_per_order": found[-1]["cpu_us_per_order"]}


def _epochs(plan: Plan, broker: Broker, folder: Path) -> Any:
    return epochs.measure(broker, folder, 0.3 if plan.quick else 1.0, plan.rounds)


def _scale(plan: Plan, broker: Broker, folder: Path) -> Any:
    return scale.measure(broker, folder, plan.orders // 2, plan.rounds)


def _recovery(plan: Plan, broker: Broker, folder: Path) -> Any:
    found = [recovery.measure(broker, folder, RATE) for _ in range(plan.rounds)]
    middle = sorted(found, key=lambda one: one["matching_s"])[len(found) // 2]
    return middle | {"each_s": [one["matching_s"] for one in found]}


SECTIONS: Final[Mapping[str, Callable[[Plan, Broker, Path], Any]]] = {
    "kernel": _kernel, "preloaded": _preloaded, "live": _live, "latency": _latency, "epochs": _epochs, "scale": _scale,
    "recovery": _recovery,
}  # fmt: skip


def _stages(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Processor time per order by process and, in the worker, by step, for the rates that were measured live."""
    measured = [found["latency"]] if "latency" in found else []
    measured += [row for row in found.get("live", ()) if row["rate"] <= 5 * RATE]
    return [
        {
            "rate": row["rate"], "processes_us": row["cpu_us_per_order"],
            "worker_ns": stages.measure(step_of(row["rate"])),
        }
        for row in measured
    ]  # fmt: skip


def measure(plan: Plan, only: Sequence[str], tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure the sections one after the other on a broker of their own."""
    machine, found, failed, began = lab.machine(), dict[str, Any](), dict[str, str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="escape-bench-") as folder, lab.broker(Path(folder)) as broker:
        for name, section in SECTIONS.items():
            if name in only:
                tell(f"{name} (after {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})")
                try:
                    found[name] = section(plan, broker, Path(folder))
                except EscapeError as error:  # the other sections are still worth having
                    failed[name] = str(error)
                    tell(f"{name}: {error}")
    if rows := _stages(found):
        found["stages"] = rows
    told = {"machine": machine, "rounds": plan.rounds, "quick": plan.quick, "sections": found, "failed": failed}
    return told | {"seconds": round(time.monotonic() - began), "figures": table.figures(found, failed)}


def main(
    only: Annotated[
        list[str] | None, typer.Option(metavar="SECTION", help=f"One of {', '.join(SECTIONS)}; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Interleaved rounds; 0 = 5, quick 1.")] = 0,
    seconds: Annotated[float, typer.Option(min=0, help="Length of the live runs; 0 = 60, quick 8.")] = 0.0,
    quick: Annotated[bool, typer.Option("--quick", help="Four minutes instead of twenty.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the table into this file as well.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """The market: kernel, stream, epochs, scale and recovery beside their peers, against the targets.

    Exit code 0 also where a target is missed, 1 where a section could not be measured.
    """
    plan = Plan(rounds or (1 if quick else 5), seconds or (8.0 if quick else 60.0), quick)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for name in only or ():
            if name not in SECTIONS:
                raise InputError("--only", name, f"known are {', '.join(SECTIONS)}")
        told = measure(plan, only or [*SECTIONS], lambda text: print(text, file=sys.stderr, flush=True))
    except EscapeError as error:
        print(f"escape: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(130) from error
    if markdown is not None:
        table.write_markdown(told, markdown)
    print(json.dumps(told) if json_ else table.markdown(told))
    if told["failed"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)

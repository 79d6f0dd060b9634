"""escape ingest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from economy.errors import InputError
from infra.cli.common import Json, Namespace, State, emit, guarded, progress, settings, using_stack
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.stack import Attached, Stack

TAPES = ("bitstamp",)


def ingest_bitstamp(chosen: Settings, stack: Stack | Attached) -> dict[str, Any]:
    """Send the tape through Kafka and Faust; returns the counts and the comparison with the exchange's prints."""
    from economy.events import TradeExecuted
    from runs.ingest import ingest
    from runs.protocol import new_run_id
    from runs.tapes import bitstamp

    with progress() as bar:
        task = bar.add_task("bitstamp", total=None, detail="reading the tape")
        tape = bitstamp.read_tape(bitstamp.folder())
        bar.update(task, detail=f"{len(tape.orders):,} orders to match")
        done = ingest(
            stack.bootstrap, stack.namespace, chosen.partitions, new_run_id(), "bitstamp", tape.instrument, tape.orders,
            tape.cancels, tape.arrival, lambda orders, trades: bar.update(task, detail=f"{trades:,} trades"),
        )  # fmt: skip
    compared = bitstamp.compare(tape, done.events[TradeExecuted.name])
    told = {
        "run": done.run,
        "orders": done.orders,
        "cancels": len(tape.cancels),
        "trades": compared.trades,
        "prints": compared.prints,
        "matched": compared.matched,
        "digest": done.digest,
        "seconds": round(done.seconds, 3),
        "orders_per_second": round(done.orders / done.seconds),
        "left_out": tape.left_out,
        "differences": compared.differences,
    }
    _store(stack, told)
    return told


def _store(stack: Stack | Attached, told: dict[str, Any]) -> None:
    """Put the comparison into ClickHouse, where there is one."""
    if stack.tables is None:
        return
    from queries.store import Store

    row = {key: [told[key]] for key in ("run", "orders", "trades", "prints", "matched")}
    row["explanation"] = [json.dumps(told["differences"])]
    with Store(stack.tables) as store:
        store.insert("tape_comparisons", row)


@guarded
def ingest(
    tape: Annotated[str, typer.Argument(help=f"Tape: {', '.join(TAPES)}.")],
    no_store: Annotated[bool, typer.Option("--no-store", help="The log only: no ClickHouse, no projection.")] = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Send a real exchange's orders through the stream and compare the trades with its own."""
    from infra.stored import wait_until_stored

    if tape not in TAPES:
        raise InputError("tape", tape, f"known are {', '.join(TAPES)}")
    chosen = settings(state, namespace)
    with using_stack(chosen, store=not no_store) as stack:
        told = ingest_bitstamp(chosen, stack)
        wait_until_stored(stack, told["run"])
    if json_:
        emit(told)
        return
    print(f"run {told['run']}: {told['orders']:,} orders, {told['trades']} trades, {told['matched']} of the exchange's")
    print(f"{told['prints']} prints with the same two orders, price and quantity")
    for difference in told["differences"]:
        print(f"print {difference['print']}: {difference['reason']}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ingest)

"""escape ingest."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from economy.errors import InputError
from infra.cli.common import Json, Namespace, State, emit, guarded, progress, settings
from infra.settings import Settings
from infra.stack import use_stack

TAPES = ("bitstamp",)


def ingest_bitstamp(chosen: Settings, bootstrap: str, namespace: str) -> dict[str, Any]:
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
            bootstrap, namespace, chosen.partitions, new_run_id(), "bitstamp", tape.instrument, tape.orders,
            tape.cancels, tape.arrival, lambda orders, trades: bar.update(task, detail=f"{trades:,} trades"),
        )  # fmt: skip
    compared = bitstamp.compare(tape, done.events[TradeExecuted.name])
    return {
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


@guarded
def ingest(
    tape: Annotated[str, typer.Argument(help=f"Tape: {', '.join(TAPES)}.")],
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Send a real exchange's orders through the stream and compare the trades with its own."""
    if tape not in TAPES:
        raise InputError("tape", tape, f"known are {', '.join(TAPES)}")
    chosen = settings(state, namespace)
    with use_stack(chosen) as stack:
        told = ingest_bitstamp(chosen, stack.bootstrap, stack.namespace)
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

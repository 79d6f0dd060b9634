"""escape ingest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from economy.errors import InputError
from infra.cli.common import Json, Namespace, State, emit, guarded, progress, settings, tell, using_stack
from infra.settings import Settings

if TYPE_CHECKING:
    from economy.records.events import Events, Rows
    from infra.stack import Attached, Stack
    from runs.ingest import Ingested
    from runs.tapes.flow import Flow
    from runs.tapes.table import Scales

app = typer.Typer(help="Send orders from outside through the stream and its matching.", no_args_is_help=True)
NoStore = Annotated[bool, typer.Option("--no-store", help="The log only: no ClickHouse, no projection.")]


def _send(
    chosen: Settings, stack: Stack | Attached, flow: Flow, records: int, on_output: Callable[[Events], None] | None
) -> Ingested:
    from runs.ingest import ingest
    from runs.protocol import new_run_id

    with progress() as bar:
        task = bar.add_task(flow.name, total=records, detail="")

        def show(sent: int, trades: int) -> None:
            stack.check()
            bar.update(task, completed=sent, detail=f"{trades:,} trades")

        return ingest(
            stack.bootstrap, stack.namespace, chosen.partitions, chosen.flow_partitions, new_run_id(), flow, on_output,
            show,
        )  # fmt: skip


class _Trades:
    """Keeps the trades of the output, and lets the rest go."""

    def __init__(self) -> None:
        self.parts: list[Rows] = []

    def __call__(self, events: Events) -> None:
        self.parts += [rows for name, rows in events.items() if name == "TradeExecuted"]

    def rows(self) -> Rows:
        import numpy as np

        from economy.records.events import TradeExecuted

        return np.concatenate([np.empty((0, TradeExecuted.width), np.int64), *self.parts])


def _told(done: Ingested) -> dict[str, Any]:
    return {
        "run": done.run,
        "orders": done.orders,
        "cancels": done.cancels,
        "trades": done.trades,
        "rejected": sum(done.rejected.values()),
        "rejected_by_reason": dict(done.rejected.most_common()),
        "digest": done.digest,
        "seconds": round(done.seconds, 3),
        "orders_per_second": round((done.orders + done.cancels) / done.seconds),
    }


def ingest_bitstamp(chosen: Settings, stack: Stack | Attached) -> dict[str, Any]:
    """Send the tape through Kafka and Faust; returns the counts and the comparison with the exchange's prints."""
    from runs.tapes import bitstamp

    tape = bitstamp.read_tape(bitstamp.folder())
    trades = _Trades()
    done = _send(chosen, stack, tape.flow(), len(tape.arrival), trades)
    compared = bitstamp.compare(tape, trades.rows())
    told = _told(done) | {
        "prints": compared.prints,
        "matched": compared.matched,
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


@app.command("bitstamp")
@guarded
def bitstamp_command(
    no_store: NoStore = False, state: State = None, namespace: Namespace = None, json_: Json = False
) -> None:
    """Half an hour of BTC/USD at Bitstamp: every order, and the trades beside the exchange's own."""
    from infra.stored import wait_until_stored

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


PriceScale = Annotated[
    list[str] | None,
    typer.Option(
        "--price-scale", metavar="[SYMBOL=]N", show_default="4",
        help="Decimals of prices: N for every instrument, SYMBOL=N for one; may be repeated.",
    ),
]  # fmt: skip
QuantityScale = Annotated[
    list[str] | None,
    typer.Option(
        "--quantity-scale", metavar="[SYMBOL=]N", show_default="4",
        help="Decimals of quantities, likewise. The two scales of an instrument add up to 8 at most.",
    ),
]  # fmt: skip


def scales_of(price: Sequence[str], quantity: Sequence[str]) -> Scales:
    """The scales that the options ask for. Raises InputError naming the option."""
    from runs.tapes.table import Scales

    found: dict[str, Any] = {}
    for option, key, values in (("--price-scale", "price", price), ("--quantity-scale", "quantity", quantity)):
        found[key] = {}
        for value in values:
            parts = re.fullmatch(r"(?:(.+)=)?(\d{1,2})", value)
            if parts is None:
                raise InputError(option, value, "give a number such as 2, or SYMBOL=2")
            if parts[1] is None:
                found[f"every_{key}"] = int(parts[2])
            else:
                found[key][parts[1]] = int(parts[2])
    return Scales(**found)


@app.command("tape")
@guarded
def tape_command(
    file: Annotated[Path, typer.Argument(help="CSV (also .gz) or Parquet.")],
    price_scale: PriceScale = None,
    quantity_scale: QuantityScale = None,
    no_store: NoStore = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """Your own orders, from a CSV or Parquet file of any size.

    Columns: tick, agent, order, instrument, action (submit or cancel), side (buy or sell), type (limit or market), tif
    (gtc, ioc or fok), post_only (true or false), price, quantity; others are ignored. Rows count in file order, ticks
    never go back, and where they lie between is up to you. `order` is the order's id, on a cancel the id to cancel;
    there the columns from side on stay empty. Price and quantity are decimals; a market order's price stays empty.

    Ids of agents, orders and instruments may be integers, which stay as they are, or names, if any one in the column is
    not an integer: then they are numbered from 0, and the run keeps their names. Those of orders go to a file whose
    path is printed; so do integer order ids that do not rise for each agent and instrument. See docs/flow.md.

    The file is checked as a whole before anything is sent. What is well formed but cannot be traded is rejected by the
    market with its reason, and counted.
    """
    from infra.stored import wait_until_stored
    from runs.tapes.table import TableTape

    chosen = settings(state, namespace)
    with progress() as bar:
        task = bar.add_task(f"checking {file.name}", total=None, detail="")
        scales = scales_of(price_scale or (), quantity_scale or ())
        tape = TableTape(file, scales, lambda rows: bar.update(task, detail=f"{rows:,} rows"))
    with using_stack(chosen, store=not no_store) as stack:
        done = _send(chosen, stack, tape.flow(), tape.rows, None)
        told = _told(done)
        if tape.order_names:
            told["order_names"] = str(_keep(tape.order_names, stack.folder / "tapes" / f"run-{done.run}-orders.txt"))
        wait_until_stored(stack, done.run)
    tell(told, json_)


def _keep(names: Sequence[str], path: Path) -> Path:
    """Write the names of orders 0, 1, … one per line."""
    from schemas.files import writing

    with writing(path) as file:
        file.writelines(f"{json.dumps(name)[1:-1]}\n".encode() for name in names)
    return path


@app.command("lobster")
@guarded
def lobster_command(
    message_file: Annotated[Path, typer.Argument(help="A message file of LOBSTER, as it comes (also .gz).")],
    symbol: Annotated[str | None, typer.Option(help="Name of the stock.", show_default="from the file's name")] = None,
    no_store: NoStore = False,
    state: State = None,
    namespace: Namespace = None,
    json_: Json = False,
) -> None:
    """A day of a NASDAQ stock from LOBSTER, and the trades beside the executions that the file tells of.

    Every execution of a visible order is made again by an immediate-or-cancel order of its size; it matches when it
    meets the same resting order at the same price. Partial cancels keep their place in the queue. Orders from before
    the file's start are placed by their age. Hidden executions, crosses and halts are left out and counted.
    """
    from infra.stored import wait_until_stored
    from runs.tapes import lobster

    chosen = settings(state, namespace)
    tape = lobster.read_tape(message_file, symbol)
    trades = _Trades()
    with using_stack(chosen, store=not no_store) as stack:
        done = _send(chosen, stack, tape.flow(), len(tape.records), trades)
        compared = lobster.compare(tape, trades.rows())
        told = _told(done) | {
            "prints": compared.prints,
            "matched": compared.matched,
            "orders_from_before": tape.unseen,
            "left_out": tape.left_out,
            "differences_by_reason": compared.by_reason,
            "differences": compared.differences,
        }
        _store(stack, told)
        wait_until_stored(stack, done.run)
    if json_:
        emit(told)
        return
    print(f"run {done.run}: {done.orders:,} orders, {done.trades:,} trades, {compared.matched:,} of the file's")
    print(f"{compared.prints:,} executions with the same resting order, price and size")
    for reason, count in compared.by_reason.items():
        print(f"{count:,} others: {reason}")
    for what, count in tape.left_out.items():
        print(f"{count:,} {what} left out")


def register(main: typer.Typer) -> None:
    """Add the commands of this module."""
    main.add_typer(app, name="ingest")

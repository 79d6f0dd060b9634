"""The figures against their targets, and the table of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.outside import write_between

Figure = dict[str, Any]
_BEGIN: Final = "<!-- figures of `escape bench market`: written by --markdown -->\n"
_END: Final = "<!-- end of the figures -->\n"
_EPOCHS: Final = {50: (("p50_ms", 4.0), ("p99_ms", 16.7)), 500: (("p50_ms", 8.0),), 5_000: (("p50_ms", 35.0),)}
_PEERS: Final = {1: {"limit_order_book": 12.0, "lightmatchingengine": 60.0, "matchcore": 1.3},
                 400: {"limit_order_book": 6.0, "matchcore": 1.3}}  # fmt: skip


def _figure(name: str, measured: str, target: str, met: bool | None) -> Figure:
    return {"figure": name, "measured": measured, "target": target, "met": met}


def figures(found: Mapping[str, Any], failed: Mapping[str, str]) -> list[Figure]:
    """Every figure that was measured, with its target; `met` is None where a peer was missing or nothing is asked."""
    rows: list[Figure] = []
    for name, tell in _TELL.items():
        if name in found:
            rows += tell(found[name])
        elif name in failed:
            rows.append(_figure(name, f"not measured: {failed[name].splitlines()[0]}", "", False))
    return rows


def _kernel(found: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in found:
        exact, whole = row["per_second"]["exact"] / 1e6, row["per_second"]["market"] / 1e6
        for peer, least in _PEERS[row["books"]].items():
            times = row["times"].get(peer)
            theirs = row["per_second"].get(peer)
            told = f"{exact:.1f} M/s (with records {whole:.1f}); {peer} "
            told += "is not installed" if times is None else f"{theirs / 1e6:.2f} M/s, {times}x"
            yield _figure(
                f"kernel, {row['mix']}, {row['books']} books, against {peer}", told, f"{least:g}x",
                None if times is None else times >= least,
            )  # fmt: skip


def _preloaded(row: Mapping[str, Any]) -> Iterator[Figure]:
    told = f"{row['orders_per_second']:,} orders/s, worker {row['worker_cpu_us']} us of processor per order"
    yield _figure("preloaded, one partition", told, "1,000,000 orders/s", row["orders_per_second"] >= 1_000_000)
    told = f"{row['times_relay']}x ({row['relay_per_second']:,} records/s)"
    yield _figure("preloaded, against a relay of librdkafka in Python", told, "2x", row["times_relay"] >= 2)


def _live(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        told = f"p50 {row['p50_ms']}, p95 {row['p95_ms']}, p99 {row['p99_ms']} ms, "
        told += "held" if row["held"] else f"not held (median rose by {row['growth_ms']} ms)"
        met = row["held"]
        target = "held"
        if row["rate"] == 100_000:
            target = "p50 10, p95 30, p99 50 ms"
            met = met and row["p50_ms"] <= 10 and row["p95_ms"] <= 30 and row["p99_ms"] <= 50
        elif row["rate"] > 500_000:
            target = "the highest held rate is reported"
            met = None
        yield _figure(f"live, {row['rate']:,} orders/s for {row['seconds']:g} s", told, target, met)


def _latency(row: Mapping[str, Any]) -> Iterator[Figure]:
    told = f"p50 {row['p50_ms']}, p95 {row['p95_ms']}, p99 {row['p99_ms']} ms"
    yield _figure("latency at 1,000 orders/s", told, "p95 15 ms", row["p95_ms"] <= 15)


def _epochs(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        target = ", ".join(f"{name.removesuffix('_ms')} {limit:g} ms" for name, limit in _EPOCHS[row["orders"]])
        met = all(row[name] <= limit for name, limit in _EPOCHS[row["orders"]])
        told = f"p50 {row['p50_ms']}, p95 {row['p95_ms']}, p99 {row['p99_ms']} ms"
        yield _figure(f"epochs of {row['orders']:,} orders, two shards", told, target, met)


def _scale(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        busy = row["worker_cores"] + row["broker_cores"]
        told = f"{row['orders_per_second']:,.0f} orders/s; workers and broker keep {busy:.2f} of "
        told += f"{row['cores_of_machine']} cores busy, {row['worker_cpu_us']:.2f} us per order in the workers"
        yield _figure(f"scale, {row['partitions']} partitions and workers", told, "reported", None)


def _recovery(row: Mapping[str, Any]) -> Iterator[Figure]:
    stages = ", ".join(f"{name} {ms} ms" for name, ms in row["stages_ms"].items())
    told = f"matching again after {row['matching_s']} s, caught up after {row['caught_up_s']} s ({stages})"
    yield _figure(f"recovery after kill -9 at {row['rate']:,} orders/s", told, "5 s", row["matching_s"] <= 5)


def _stages(rows: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    for row in rows:
        steps = ", ".join(f"{name} {value}" for name, value in row["worker_ns"].items() if name != "batch")
        processes = ", ".join(f"{name} {value}" for name, value in row["processes_us"].items())
        told = (
            f"us by process: {processes}; ns of the worker's steps on batches of {row['worker_ns']['batch']}: {steps}"
        )
        yield _figure(f"processor time per order at {row['rate']:,} orders/s", told, "reported", None)


_TELL: Final[Mapping[str, Any]] = {
    "kernel": _kernel, "preloaded": _preloaded, "live": _live, "latency": _latency, "epochs": _epochs, "scale": _scale,
    "recovery": _recovery, "stages": _stages,
}  # fmt: skip


def markdown(told: Mapping[str, Any]) -> str:
    """The table and the machine it was measured on."""
    machine = told["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}"
    how = f"Python {machine['python']}; load before {machine['load_before']}, rounds: {told['rounds']}"
    quick = " (--quick)" if told["quick"] else ""
    lines = [f"{where}, {how}{quick}.", "", "| figure | measured | target | met |", "| --- | --- | --- | --- |"]
    marks = {True: "yes", False: "**no**", None: ""}
    lines += [f"| {r['figure']} | {r['measured']} | {r['target']} | {marks[r['met']]} |" for r in told["figures"]]
    return "\n".join(lines) + "\n"


def write_markdown(told: Mapping[str, Any], path: Path) -> None:
    """Put the table between the marks of the file, or into a new file."""
    write_between(path, _BEGIN, _END, "\n" + markdown(told) + "\n")

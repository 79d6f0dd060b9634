"""How fast an exported run comes into a log, and how long that is, packed and not: `python -m bench.importing FILE`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.market.lab import broker, machine, new_namespace
from infra.broker import Broker
from runs.container import Container
from runs.importing import import_file
from schemas.log import topics


def measured(running: Broker, file: Container, compress: bool) -> dict[str, Any]:
    """One import into a namespace of its own. Processor time is this process's; the broker has a core of its own."""
    namespace, m = new_namespace(), file.manifest
    topics.create(running.bootstrap, namespace, m.partitions, m.flow_partitions)
    wall, cpu = time.perf_counter(), time.process_time()
    done = import_file(
        running.bootstrap, namespace, m.partitions, m.flow_partitions, file, compress=compress,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    held = sum(part.stat().st_size for part in (running.folder / "log").glob(f"{namespace}.*/*.log"))
    return {
        "packed": compress, "records": done.records, "seconds": round(wall, 2), "cpu_seconds": round(cpu, 2),
        "records_per_cpu_second": round(done.records / cpu), "log_bytes": held,
    }  # fmt: skip


def main(
    file: Annotated[Path, typer.Argument(help="What `escape export RUN FILE.avro` wrote.")],
    rounds: Annotated[int, typer.Option(min=1, help="Of both, after one that counts for nothing.")] = 3,
) -> None:
    """Import a file some times, in turn packed and not."""
    held = Container(file)
    with tempfile.TemporaryDirectory(prefix="importing-") as folder, broker(Path(folder)) as running:
        measured(running, held, True)  # what numba compiles or loads from its cache is no matter of speed
        found = [measured(running, held, compress) for _ in range(rounds) for compress in (True, False)]
    json.dump({"machine": machine(), "imports": found}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    typer.run(main)

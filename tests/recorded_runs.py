"""Runs that released versions recorded, and what they were when they were recorded.

`python -m tests.recorded_runs FOLDER` writes FOLDER/state.json for the files of a version that is being released.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from economy.indicators import WindowProjection
from infra.broker import Broker
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings
from runs.container import Container
from runs.importing import import_file
from runs.protocol import environment, unlike_here
from runs.verify import verify_run
from schemas.catalogue import FLOWS, TRADES
from schemas.log import topics
from schemas.log.founding import founding, village_of
from schemas.log.history import Segment, read_epochs, read_history

RUNS: Final = Path(__file__).parent / "data" / "runs"
FILES: Final = ("village.avro", "fork.avro")  # the parent first


def bring_in(bootstrap: str, namespace: str, folder: Path) -> dict[str, int]:
    """Import a version's files into a new namespace; returns their runs by file name."""
    files = {name: Container(folder / name) for name in FILES}
    manifest = files[FILES[0]].manifest
    topics.create(bootstrap, namespace, manifest.partitions, manifest.flow_partitions)
    where = bootstrap, namespace, manifest.partitions, manifest.flow_partitions
    return {name: import_file(*where, file).run for name, file in files.items()}


def windows(bootstrap: str, namespace: str, segments: Sequence[Segment]) -> Iterator[dict[str, Any]]:
    """Figures and a checksum of all balances of every window, folded from the log; the books close on the way."""
    scenario = village_of(segments[-1].clock)
    assert scenario is not None
    founded = founding(bootstrap, namespace, segments[0].started)
    projection = WindowProjection(segments[-1].run, scenario, founded.roles, founded.instruments)
    for epoch, families in read_epochs(bootstrap, namespace, segments, (FLOWS, TRADES)):
        window = projection.feed(epoch, {name: rows for part in families.values() for name, rows in part.items()})
        if window is not None:
            balances = json.dumps(window.balances[:, 2:].tolist())  # agent, account, item, quantity
            figures = {f"{name} {item}": value for (name, item), value in sorted(window.figures.items())}
            yield {"balances": sha256(balances.encode()).hexdigest(), "figures": figures}


def other_rules(started: Mapping[str, Any]) -> str:
    """Why a run cannot be computed again here, apart from another lock, which may not show under the same rules."""
    return unlike_here({**started, "environment": {**started["environment"], "lock": environment("")["lock"]}})


def state_of(bootstrap: str, namespace: str, run: int) -> Mapping[str, Any]:
    """What must hold for ever: root, digest, and every window's state."""
    verdict = verify_run(bootstrap, namespace, run)
    assert verdict.findings == (), verdict.findings
    told = list(windows(bootstrap, namespace, read_history(bootstrap, namespace, run)))
    return {"root": verdict.root, "digest": verdict.digest, "windows": told}


def main(folder: Path) -> None:
    """Write state.json of a version's folder."""
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    with TemporaryDirectory() as place, Broker(Path(place), home, broker_classpath(settings.cache_folder, home)) as at:
        runs = bring_in(at.bootstrap, "recorded", folder)
        told = {name: state_of(at.bootstrap, "recorded", run) for name, run in runs.items()}
    (folder / "state.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

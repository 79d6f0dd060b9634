"""A run computed again in a process beside: `python -m runs.reexecution`, a job on its stdin, markers on its stdout.

This module imports little, so that the process beside starts while the caller still imports what it needs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from economy.errors import ProtocolError

_KEYS: Final = ("run", "environment", "scenario", "seed", "shards", "partitions", "flow_partitions")
ROW: Final = 6 * 8  # bytes of a marker: epoch, topic's number, partition, writer, count, digest
_READ: Final = 1 << 16


class Job:
    """A process that waits for a run to compute again; a context that ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runs.reexecution"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        self._found = bytearray()
        self._errors = b""
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        self.per_epoch = 1
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def begin(
        self, started: Mapping[str, Any], changed: Mapping[int, Sequence[tuple[str, str]]], until: int,
        trusted: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Have a run computed up to the cut of `until`; `changed` are its interventions by epoch.

        `trusted` are the further models that the run may name.
        """
        told = {key: started[key] for key in _KEYS}
        told |= {"changed": {str(epoch): list(found) for epoch, found in changed.items()}, "until": until}
        told |= {"trusted": list(trusted)}
        self.per_epoch = started["partitions"] + started["shards"] * (
            started["partitions"] + 2 * started["flow_partitions"]
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told).encode() + b"\n")
        self._process.stdin.flush()

    @property
    def epochs(self) -> int:
        """Epochs that have been computed."""
        return len(self._found) // (ROW * self.per_epoch)

    def wait(self, seconds: float) -> bool:
        """Wait for the end; false when it has not come by then."""
        self._readers[0].join(seconds)
        return not self._readers[0].is_alive()

    def result(self) -> bytes:
        """All markers as little-endian int64. Raises ProtocolError when the process failed."""
        for reader in self._readers:
            reader.join()
        if self._process.wait():
            last = self._errors.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise ProtocolError(f"re-execution ended with code {self._process.returncode}", last[0])
        return bytes(self._found)

    def stop(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := self._process.stdout.read1(_READ):  # type: ignore[attr-defined]  # a BufferedReader
            self._found += piece

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()

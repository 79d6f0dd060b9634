"""Whether a worker does its work: looked at from a thread of its own, told in a file, asked by a command.

`python -m streams.health --data DATA --name NAME` ends with 0 when the worker of that name and folder is well, else
with 1 and a line that says why: a partition has input and stands still since 15 s, the worker has no place in its group
since then, or it says nothing any more. A matching worker that stands still for a minute ends, to be started again.
So does any worker that can no longer be looked at.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from economy.errors import EscapeError, SetupError
from schemas.files import replacing
from streams.settings import HealthSettings, WatchedSettings

if TYPE_CHECKING:  # whoever asks needs no client of Kafka
    from schemas.log.reader import LogReader

Place = tuple[str, int]  # (family, partition), as schemas.log.reader has it
Positions = Callable[[], Mapping[Place, int] | None]
log = logging.getLogger("escape.health")
LOOK_SECONDS: Final = 3.0
_ILL_LOOKS: Final = 5  # without progress: looks, not seconds, for a process that was stopped has not stood still
_END_LOOKS: Final = 20
_STALE_SECONDS: Final = 15.0
_BROKER_SECONDS: Final = 2.0


def file_of(data: Path, name: str) -> Path:
    """Where the worker of that name tells how it is."""
    return data / f"health-{name}.json"


def ailment(data: Path, name: str, pid: int = 0) -> str:
    """Why the worker is not well; "" when it is. Of a process that has told nothing yet, `pid`, nothing is said."""
    try:
        told = json.loads(file_of(data, name).read_text())
        teller, silent, why = int(told["pid"]), time.time() - told["at"], str(told["why"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        return "" if pid else f"{name} has not told how it is: {error!r}"
    if pid not in (0, teller):
        return ""
    return why if silent <= _STALE_SECONDS else f"{name} (pid {teller}) has said nothing for {silent:.0f} s"


class Watch(threading.Thread):
    """Looks at a worker every three seconds until it is told to stop."""

    def __init__(
        self, options: WatchedSettings, positions: Positions, end: Callable[[BaseException], None],
        fault: Callable[[], SetupError | None] = lambda: None, patient: bool = False,
    ) -> None:  # fmt: skip
        """`positions`: the next offset per partition, as far as it works on them; None without a place in the group.

        `end` is called for a fault (`fault`: why it cannot go on), for one that stands still for a minute, unless it is
        `patient`, and when looking itself fails.
        """
        super().__init__(daemon=True, name="health")
        self._address, self._namespace = options.bootstrap, options.namespace
        self._file = file_of(options.data, options.name)
        self._positions, self._end, self._fault, self._patient = positions, end, fault, patient
        self._last: Mapping[Place, int] = {}
        self._still: dict[Place | None, int] = {}  # looks without progress; None: without a place in the group
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Look no more: the worker is about to end."""
        self._stopping.set()

    def run(self) -> None:
        try:
            self._look_on()
        except BaseException as error:  # of any kind: a worker that nobody looks at would be believed to be well
            self._give_up(error)

    def _look_on(self) -> None:
        from schemas.log.reader import LogReader

        with LogReader(self._address, self._namespace, {}) as reader:
            while True:
                why = self.look(reader)
                self._tell(why)
                if self._stopping.wait(LOOK_SECONDS):
                    return

    def look(self, reader: LogReader) -> str:
        """Why the worker is not well, after one look; "" when it is. Ends it where nothing else helps."""
        fault = self._fault()
        if fault is not None:
            self._give_up(fault)
            return str(fault)
        now = self._positions()
        try:
            self._count(reader, now)
        except SetupError:  # the broker is away: nobody can say more
            self._still.clear()
        self._last = now or {}
        place, looks = max(self._still.items(), key=lambda pair: pair[1], default=(None, 0))
        if looks < _ILL_LOOKS:
            return ""
        seconds = f"for {looks * LOOK_SECONDS:.0f} s"
        if place is None:
            why = f"it has had no place in its group {seconds}"
        else:
            why = f"{place[0]}[{place[1]}] has input and stands at offset {self._last[place]} {seconds}"
        if looks >= _END_LOOKS and not self._patient:
            self._give_up(SetupError(why, "it is started again from its snapshot"))
        return why

    def _give_up(self, error: BaseException) -> None:
        if not self._stopping.is_set():
            self._end(error)

    def _count(self, reader: LogReader, now: Mapping[Place, int] | None) -> None:
        from schemas.catalogue import CLOCK

        if now is None:
            reader.end_offsets([(CLOCK, 0)], _BROKER_SECONDS)  # raises where there is no broker to have a group
            self._still = {None: self._still.get(None, 0) + 1}
            return
        idle = [place for place, offset in now.items() if self._last.get(place) == offset]
        ends = reader.end_offsets(idle, _BROKER_SECONDS)
        self._still = {place: self._still.get(place, 0) + 1 for place in idle if ends[place] > now[place]}

    def _tell(self, why: str) -> None:
        try:
            with replacing(self._file, durable=False) as file:
                file.write(json.dumps({"pid": os.getpid(), "at": time.time(), "why": why}).encode())
        except OSError as error:  # a full disk: whoever asks sees that nothing is said
            log.warning("%s is not up to date: %s", self._file, error.strerror)


def main() -> int:
    """Ask, and say why it is not well; without a log, which is the worker's own."""
    try:
        options = HealthSettings.parse()
        if why := ailment(options.data, options.name):
            raise EscapeError(why, f"see the log of {options.name}")
    except EscapeError as error:
        print(f"escape: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

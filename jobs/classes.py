"""Java's archive of loaded classes, which more than halves the start of the next process with the same classes.

The first process writes it at its end. One that is killed meanwhile leaves a part: it writes a draft, which takes the
archive's place only when Java has ended by itself.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

import psutil


class ClassArchive:
    """The archive for one process of Java: `option` before it starts, `settle` once it has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")

    def option(self) -> str:
        """By which Java takes its classes from the archive; where there is none yet, it writes one at its end."""
        if self.path.exists():
            return f"-XX:SharedArchiveFile={self.path}"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        return f"-XX:ArchiveClassesAtExit={self._draft}"

    def settle(self, code: int | None) -> None:
        """Keep what Java wrote if it ended by itself, which `code` says as `Popen.returncode` does."""
        with suppress(FileNotFoundError):  # there was an archive, or Java did not come to write one
            if code is not None and code >= 0:
                os.replace(self._draft, self.path)  # whole, whoever else writes one at the same time
            else:
                self._draft.unlink()

    def _sweep(self) -> None:
        """Remove drafts of processes that were killed. One that is removed too early is written in vain, no more."""
        draft = re.compile(re.escape(self.path.name) + r"\.(\d{1,9})\.[0-9a-f]{8}")
        for path in self.path.parent.iterdir():
            found = draft.fullmatch(path.name)
            if found and not psutil.pid_exists(int(found[1])):
                path.unlink(missing_ok=True)

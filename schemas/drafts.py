"""Drafts: files that are written beside the one whose place they take, and are never taken for it.

A process that is killed leaves its draft behind. Whoever writes one holds a lock on it, which ends with the process
whatever ends that, and which containers that share a folder see of each other, where numbers of processes mean nothing:
a draft that nobody holds is nobody's. Where a file system has no locks, drafts stay.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

_NAMED: Final = 200  # bytes of a file's name in that of its draft: names have at most 255
_DRAFT: Final = re.compile(r"\..*\.[0-9a-f]{12}\.draft", re.DOTALL)


@contextmanager
def made(path: Path, mode: int) -> Iterator[tuple[Path, io.BufferedRandom]]:
    """(draft of `path`, the same opened); at the end it is removed, if it is still there. Raises OSError."""
    name = path.name.encode(errors="replace")[:_NAMED].decode(errors="ignore")
    while True:
        draft = path.with_name(f".{name}.{secrets.token_hex(6)}.draft")
        try:
            with open(draft, "x+b", opener=partial(os.open, mode=mode)) as file:
                if not _held(file.fileno()):
                    continue
                yield draft, file
                return
        finally:
            draft.unlink(missing_ok=True)


def _held(descriptor: int) -> bool:
    """Lock a draft; False where a sweep came between and took it for nobody's."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # there are no locks here, so there is no sweep either
        return True
    return os.fstat(descriptor).st_nlink > 0


def sweep(folder: Path) -> None:
    """Remove the drafts in a folder that no process holds."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _DRAFT.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unheld(entry.path)


def _remove_unheld(draft: str) -> None:
    with suppress(OSError):  # it is held, gone, or another user's
        descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(draft)
        finally:
            os.close(descriptor)

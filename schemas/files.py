"""Files of a user: read where they can be read again, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from economy.errors import InputError

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def _other_kind(mode: int) -> str | None:
    """What lies at a path that is no regular file."""
    return next((name for test, name in _KINDS if test(mode)), None)


def head(path: Path, size: int, field: str = "file") -> bytes:
    """The first bytes of a file that is going to be read, more than once perhaps.

    Raises InputError at once for what is missing, cannot be read, or is no regular file: a pipe can be read once only,
    and one that nobody writes into not even that.
    """
    try:
        # A pipe without a writer would hold an ordinary open until one comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", closefd=True) as file:
            other = _other_kind(os.fstat(descriptor).st_mode)
            if other is None:
                return file.read(size)
    except IsADirectoryError:
        other = "a folder"
    except OSError as error:
        raise InputError(field, str(path), f"it cannot be read: {error.strerror}") from error
    raise InputError(field, str(path), f"it cannot be read: it is {other}; give a regular file")

"""Files: read where they can be read again, written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from economy.errors import InputError, SetupError
from schemas import drafts

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT: Final = Path("-")
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_REMEDIES: Final = {errno.ENOSPC: "make room", errno.EPIPE: "what reads it ended before its end"}
_NO_DRAFT: Final = (errno.EACCES, errno.EPERM, errno.EROFS)  # the folder takes no files
_KEPT: Final = (
    errno.EBUSY,
    errno.EPERM,
    errno.EACCES,
)  # it is mounted by itself, or another user's


# ---- reading
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


def text_of(path: Path) -> str:
    """A file's name as text that can be written down: what of it is not UTF-8 is replaced."""
    return os.fsencode(path.name).decode(errors="replace")


def _other_kind(mode: int) -> str | None:
    """What lies at a path that is no regular file."""
    return next((name for test, name in _KINDS if test(mode)), None)


# ---- writing
@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that a user named, to be written; it appears, or replaces the one there, when all of it is.

    A link is followed and stays. What cannot be replaced is written into as it comes: a device, a pipe, `-` and other
    names of this process's own output. A file that may be written but not replaced, as its folder is read only or it is
    mounted by itself, gets its new content in place, once all of that is there: who reads it meanwhile, or a machine
    that stops meanwhile, finds a part of it. Raises SetupError where it cannot be written.
    """
    try:
        target = _replaced(path)
        if target is None:
            with _Stream(_opened(path)) as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, or_into=True) as file:
            yield file
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "choose another file")
        raise SetupError(f"{path} cannot be written: {error.strerror or error}", remedy) from error


@contextmanager
def replacing(path: Path, mode: int | None = None, durable: bool = True, or_into: bool = False) -> Iterator[BinaryIO]:
    """A file of ours, to be written beside `path` and put in its place when the block ends without an error.

    It has the `mode`, by default that of the file it replaces. `durable`: it survives that the machine stops; leave it
    out for what does not outlive its process. `or_into`: a file that no other may take the place of gets the content
    itself. Drafts in the folder that killed processes left are removed. Raises OSError.
    """
    drafts.sweep(path.parent)
    with ExitStack() as held:
        try:
            draft, file = held.enter_context(drafts.made(path, 0o666 if mode is None else mode))
        except OSError as error:
            if not or_into or error.errno not in _NO_DRAFT or not path.exists():
                raise
            aside = held.enter_context(tempfile.TemporaryFile())
            yield aside
            _copy_into(aside, path)
            return
        _keep_attributes(file.fileno(), path, mode)
        yield file
        file.flush()
        if durable:
            os.fsync(file.fileno())
        try:
            draft.replace(path)
        except OSError as error:
            if not or_into or error.errno not in _KEPT:
                raise
            _copy_into(file, path)
        if durable:
            _sync_folder(path.parent)


def _copy_into(file: BinaryIO, path: Path) -> None:
    file.seek(0)
    with open(path, "r+b") as there:
        shutil.copyfileobj(file, there, 1 << 20)
        there.truncate()
        there.flush()
        os.fsync(there.fileno())


def _keep_attributes(descriptor: int, path: Path, mode: int | None) -> None:
    with suppress(FileNotFoundError):
        there = os.stat(path)
        with suppress(PermissionError):  # only root gives files away
            os.fchown(descriptor, there.st_uid, there.st_gid)
        mode = stat.S_IMODE(there.st_mode) if mode is None else mode
    if mode is not None:
        os.fchmod(descriptor, mode)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_stream(path: Path) -> bool:
    """Whether a path leads to what can be written into only, whatever its name: a device, a pipe, our own output."""
    try:
        return _replaced(path) is None
    except OSError:  # told by who opens it
        return False


def is_stdout(path: Path) -> bool:
    """Whether what is written to a path comes out of this process's standard output."""
    return path == STDOUT or _own_output(path) == 1


def beside(path: Path) -> Path:
    """Folder for what is put aside while a file is written: on its disk, where it is one."""
    try:
        target = _replaced(path)
    except OSError:  # told by who opens it
        target = None
    if target is not None:
        folder = next(folder for folder in target.parents if folder.is_dir())  # those below are made with the file
        if os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            return folder
    return Path(tempfile.gettempdir())


def _replaced(path: Path) -> Path | None:
    """The regular file, there or not yet, that a path leads to; None for what can be written into only."""
    if path == STDOUT:
        return None
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(there.st_mode) or _own_output(path) is not None:
        return None
    return Path(os.path.realpath(path))


def _own_output(path: Path) -> int | None:
    """The descriptor of this process's output that a path is another name of, such as /dev/stdout."""
    for descriptor in (1, 2):
        with suppress(OSError):  # there is no such file, or that output is closed
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor
    return None


def _opened(path: Path) -> io.FileIO:
    own = 1 if path == STDOUT else _own_output(path)
    if own is None:  # no O_CREAT: systems may forbid it for the pipes of others
        return io.FileIO(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "wb")
    (sys.stdout if own == 1 else sys.stderr).flush()
    return io.FileIO(os.dup(own), "wb")


class _Stream(io.BufferedWriter):
    """What cannot be sought; it knows how much was written, which writers of Parquet ask."""

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__(raw, 1 << 20)
        self._written = 0

    def write(self, data: ReadableBuffer, /) -> int:
        written = super().write(data)
        self._written += written
        return written

    def tell(self) -> int:
        return self._written

    def seekable(self) -> bool:
        return False

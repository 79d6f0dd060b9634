"""Snapshots on compacted topics: arrays without pickle, in chunks, the newest complete version wins.

Two key slots are used in turn, so that compaction can never leave a half-overwritten snapshot alone. A stopped and
continued process may write an older version last; readers take the highest version, so that is slower, never wrong. It
may also write parts of the same version: what cannot be read is passed over, since the log itself holds everything.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import lz4.frame
import numpy as np
from numpy.typing import NDArray

from economy.errors import ProtocolError
from schemas.compression import Codec, decompressed

log = logging.getLogger("escape.snapshots")
State = dict[str, NDArray[Any]]
T = TypeVar("T")
CHUNK: Final = 8 << 20
FORMAT: Final = 2  # of the states of shards, markets and the world: raise it with any change to what their arrays mean
_FORMAT: Final = "snapshot/format"
_HEAD: Final = struct.Struct(">qqii")  # owner, version, part, parts
MOST: Final = 8 << 30  # bytes of a state, as numpy lays it out
# What lz4, zip, numpy and the loading of a state raise for bytes that are none of theirs.
UNREADABLE: Final = (
    RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError, MemoryError,
    OSError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


class SnapshotFormatError(ProtocolError):
    """A state was written by a program whose states have another format."""


def stamped(state: Mapping[str, NDArray[Any]]) -> State:
    """A state with the number of its format."""
    return {**state, _FORMAT: np.array([FORMAT], np.int64)}


def checked(state: Mapping[str, NDArray[Any]]) -> State:
    """The state that `stamped` took. Raises SnapshotFormatError for another format; none given is the first."""
    found = int(state[_FORMAT][0]) if _FORMAT in state else 1
    if found != FORMAT:
        raise SnapshotFormatError(
            f"a state has format {found}, this program reads format {FORMAT}",
            "use the version of the program that wrote it, or have the state computed again from the log",
        )
    return {name: rows for name, rows in state.items() if name != _FORMAT}


def packed(state: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as one npz archive."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **stamped(state))  # type: ignore[arg-type]  # the stub takes the arrays for allow_pickle
    return buffer.getvalue()


def unpacked(data: bytes) -> State:
    """What `packed` took. Raises SnapshotFormatError, and ValueError for what is no state."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                _check_array(archive, member)
            if sum(member.file_size for member in archive.infolist()) > MOST:
                raise ValueError(f"it holds more than {MOST:,} bytes")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            state = {name: stored[name] for name in stored.files}
    except UNREADABLE as error:
        raise ValueError(f"it is no state: {error!r}") from error
    return checked(state)


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise ValueError for an array whose head claims another size than it has: numpy would make room for it."""
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError(f"{member.filename} has another format")
        shape, _, kind = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
        behind = member.file_size - file.tell()
        if math.prod(shape) * kind.itemsize != behind:
            raise ValueError(f"{member.filename} claims the shape {shape} and has {behind} bytes")


def pack(owner: int, version: int, state: Mapping[str, NDArray[Any]]) -> list[tuple[bytes, bytes]]:
    """(key, value) of each chunk of one snapshot. `version` rises with every snapshot of an owner."""
    buffer = io.BytesIO()
    np.savez(buffer, **stamped(state))  # type: ignore[arg-type]  # the stub takes the arrays for allow_pickle
    data = lz4.frame.compress(buffer.getbuffer())  # zlib would take twenty times as long
    parts = max(1, -(-len(data) // CHUNK))
    return [
        (
            f"{owner}.{version & 1}.{part}".encode(),
            _HEAD.pack(owner, version, part, parts) + data[part * CHUNK : (part + 1) * CHUNK],
        )
        for part in range(parts)
    ]


def fault_of(value: bytes, key: bytes) -> str:
    """Why a record is no chunk of a snapshot under the key that `pack` gives it; "" for one that is."""
    if len(value) < _HEAD.size:
        return "too short for a snapshot"
    owner, version, part, parts = _HEAD.unpack_from(value)
    if not 0 <= part < parts:
        return f"part {part} of {parts} of a snapshot"
    if key != b"%d.%d.%d" % (owner, version & 1, part):
        return f"part {part} of version {version} of owner {owner} under another key"
    if parts > 1:  # what one part holds cannot be read alone
        return ""
    try:
        unpacked(decompressed(Codec.LZ4, value[_HEAD.size :], MOST).tobytes())
    except SnapshotFormatError:  # of another version of the program, which is passed over
        return ""
    except UNREADABLE as error:
        return f"no state: {error}"
    return ""


def newest(values: Iterable[bytes | None], owner: int) -> tuple[int, State] | None:
    """(version, state) of an owner's newest complete, readable snapshot among the values; None when there is none."""
    return loaded(values, owner, lambda state: state)


def loaded(values: Iterable[bytes | None], owner: int, load: Callable[[State], T]) -> tuple[int, T] | None:
    """(version, what `load` makes of it) of an owner's newest snapshot that is complete and can be read and loaded.

    None when there is none. What is no snapshot is passed over, whatever it is: a process that ended over it would meet
    it again at each start.
    """
    found: dict[int, dict[int, bytes]] = {}
    needed: dict[int, int] = {}
    for value in values:
        if value is None or len(value) < _HEAD.size:  # nobody's, or the null that deletes one
            log.warning("a snapshot of %d bytes is passed over", len(value or b""))
            continue
        who, version, part, parts = _HEAD.unpack_from(value)
        if who == owner:
            found.setdefault(version, {})[part] = value[_HEAD.size :]
            needed[version] = parts
    for version in sorted(found, reverse=True):
        chunks = found[version]
        if len(chunks) == needed[version]:
            try:
                data = b"".join(chunks[part] for part in range(needed[version]))
                return version, load(unpacked(decompressed(Codec.LZ4, data, MOST).tobytes()))
            except SnapshotFormatError as error:
                log.warning("snapshot %d of %d is passed over: %s", version, owner, error.message)
            except UNREADABLE as error:
                log.warning("snapshot %d of %d cannot be read: %r", version, owner, error)
    return None

"""Dead letters of a partition: records that cannot be taken in, a batch at a time, each with its place and the reason.

Whatever is wrong with a record, burying it costs no more than matching a sound one: the letters are written by numba as
well, and the log gets one line per fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numba import njit

from schemas.log.framing import Headers, put_varint
from schemas.log.recordbatch import Bytes, Ints, Records

_DIGITS: Final = 20  # of an offset, with room
Found = list[tuple[Ints, str]]  # positions in a fetch, and why


def _varint(number: int) -> bytes:
    buffer = np.empty(10, np.uint8)
    return buffer[: put_varint(buffer, 0, number)].tobytes()


def _text(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data


@njit(cache=True)
def _blocks(prefixes: Bytes, bounds: Ints, which: Ints, offsets: Ints, out: Bytes, starts: Ints, ends: Ints) -> None:
    """Headers of each record: the prefix of its reason, then its offset in decimal digits."""
    at = 0
    for i in range(which.size):
        starts[i] = at
        for k in range(bounds[which[i]], bounds[which[i] + 1]):
            out[at] = prefixes[k]
            at += 1
        digits, rest = 1, offsets[i] // 10
        while rest > 0:
            digits += 1
            rest //= 10
        at = put_varint(out, at, digits)
        rest = offsets[i]
        for k in range(digits):
            out[at + digits - 1 - k] = np.uint8(48 + rest % 10)
            rest //= 10
        at += digits
        ends[i] = at


def headers(reasons: Sequence[str], which: Ints, offsets: Ints, topic: str, partition: int) -> Headers:
    """Headers error, topic, partition and offset of records, in the record format.

    which, offsets: (records,) number of the reason and offset of each.
    """
    where = _text("topic") + _text(topic) + _text("partition") + _text(str(partition)) + _text("offset")
    prefixes = [_varint(4) + _text("error") + _text(reason) + where for reason in reasons]
    bounds = np.cumsum([0, *map(len, prefixes)])
    room = int((bounds[1:] - bounds[:-1])[which].sum()) + (_DIGITS + 2) * which.size
    out, starts, ends = np.empty(room, np.uint8), np.empty(which.size, np.int64), np.empty(which.size, np.int64)
    _blocks(np.frombuffer(b"".join(prefixes), np.uint8), bounds, which, offsets, out, starts, ends)
    return out, starts, ends


def letters(records: Records, found: Found, topic: str, partition: int) -> tuple[Ints, Ints, Headers]:
    """(starts, ends, headers) of the records to bury, in log order; their values lie in the records' buffer."""
    reasons = list(dict.fromkeys(why for _, why in found))
    at = np.concatenate([positions for positions, _ in found])
    which = np.concatenate([np.full(len(positions), reasons.index(why)) for positions, why in found])
    order = np.argsort(at, kind="stable")
    at, which = at[order], which[order]
    return records.starts[at], records.ends[at], headers(reasons, which, records.offsets[at], topic, partition)

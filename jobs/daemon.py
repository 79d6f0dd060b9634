"""The parent of Spark's Python workers: what each of them needs is loaded once, before they are forked."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark import daemon

import jobs.decoding
import jobs.writer  # noqa: F401
from schemas.rows import decode

if __name__ == "__main__":
    none = np.empty(0, np.int64)
    decode(np.empty(0, np.uint8), none, none)  # loads the machine code
    untyped: Any = daemon
    untyped.manager()

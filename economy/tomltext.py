"""TOML files of a user: what is wrong with one, said in words."""

from __future__ import annotations

import codecs
import tomllib
from typing import Any, Final

_MARKS: Final = {
    codecs.BOM_UTF8: "it begins with a byte order mark (BOM): save it as UTF-8 without one",
    codecs.BOM_UTF16_LE: "it is UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "it is UTF-16: save it as UTF-8",
}


def parse_toml(data: bytes) -> dict[str, Any]:
    """What a file holds. Raises ValueError that says what is wrong with it and what to do."""
    for mark, what in _MARKS.items():
        if data.startswith(mark):
            raise ValueError(what)
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8: save it as UTF-8") from error
    except RecursionError as error:
        raise ValueError("correct the TOML: it is nested too deeply") from error
    except ValueError as error:  # tomllib's own, and that of a number with thousands of digits
        raise ValueError(f"correct the TOML: {error}") from error

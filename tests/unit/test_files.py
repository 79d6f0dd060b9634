"""Files that a user names: what is no regular file is refused at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from economy.errors import InputError
from runs.container import Container
from runs.tapes.lobster import read_tape
from runs.tapes.table import TableTape
from schemas.files import head

READERS: list[Callable[[Path], object]] = [TableTape, read_tape, Container, lambda path: head(path, 1)]


@pytest.mark.parametrize("read", READERS, ids=["tape", "lobster", "run", "head"])
def test_what_is_no_regular_file_is_refused_at_once(read: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe that nobody writes into would be waited for without end."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    receiving, sending = os.pipe()
    try:
        for path, word in (
            (tmp_path / "fifo", "it is a pipe"),
            (tmp_path / "link", "it is a pipe"),
            (Path(f"/dev/fd/{receiving}"), "it is a pipe"),
            (Path("/dev/null"), "it is a device"),
            (tmp_path, "it is a folder"),
            (tmp_path / "nowhere", "No such file"),
            (tmp_path / "loop", "symbolic links"),
            (tmp_path / ("x" * 300), "too long"),
        ):
            with pytest.raises(InputError, match=word) as raised:
                read(path)
            assert "cannot be read" in str(raised.value)
    finally:
        os.close(receiving)
        os.close(sending)

"""The log of a process: JSON lines in a file of its own, and text, or the same lines, on stderr.

A file is closed at midnight UTC or when it is full, packed, and deleted after 90 days. What is packed has a bound too:
a process that complains without end fills no disk. `log.schema.json` describes a line.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

Format = Literal["text", "json"]
Level = Literal["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
FILE_BYTES: Final = 256 << 20  # of one file
KEPT_BYTES: Final = 1 << 30  # of all closed files of one name
KEPT_DAYS: Final = 90
CRASH_BYTES: Final = 16 << 20  # of what a process writes past its log, mostly when it crashes
LEVELS: Final[Mapping[str, int]] = {
    "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING, "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
}  # fmt: skip
_SUFFIX: Final = ".jsonl"
_TORN: Final = 1 << 20  # bytes at the end of a file in which a line that was cut off begins
_DAY: Final = 86_400


def level_name(level: int) -> Level:
    """The highest of the five names that is not above a level of Python's."""
    found: Level = "DEBUG"
    for name, number in LEVELS.items():
        if level >= number:
            found = name  # type: ignore[assignment]  # the keys are these names
    return found


class Text(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(level)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.level = level_name(record.levelno)
        return super().format(record)


class JsonLines(logging.Formatter):
    """A line as log.schema.json describes it. `run`: the run that all of a process is about."""

    def __init__(self, service: str, run: int | None = None) -> None:
        super().__init__()
        self._service, self._run = service, run
        self._instance = f"{socket.gethostname()}:{os.getpid()}"

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {
            "@timestamp": when.replace("+00:00", "Z"),
            "level": level_name(record.levelno),
            "service": self._service,
            "instance": self._instance,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in (("run", getattr(record, "run", self._run)), ("epoch", getattr(record, "epoch", None))):
            if value is not None:
                told[name] = value
        if record.exc_info and record.exc_info[1] is not None:
            told["error.type"] = type(record.exc_info[1]).__name__
            told["error.stack"] = "".join(traceback.format_exception(record.exc_info[1]))
        # ASCII: what cannot be encoded, a lone surrogate of a foreign file name, must not cost the line.
        return json.dumps(told, separators=(",", ":"))


class DailyFile(logging.Handler):
    """Writes lines to `path`, which only this process may write. Files of days gone by: NAME.DATE.NUMBER.jsonl.gz.

    Raises OSError when the file cannot be opened. A line is written whole or not at all, and none ends the process:
    those that a full disk takes are counted.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, file_bytes: int = FILE_BYTES,
        kept_bytes: int = KEPT_BYTES, kept_days: int = KEPT_DAYS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.path = path
        self.lost = 0
        self._file = -1
        self._clock, self._file_bytes, self._kept_bytes, self._kept_days = clock, file_bytes, kept_bytes, kept_days
        self._closed = re.compile(
            rf"{re.escape(path.name.removesuffix(_SUFFIX))}\.(\d{{4}}-\d\d-\d\d)\.(\d+)\.jsonl(\.gz)?"
        )
        self._tidying: threading.Thread | None = None
        self._open()
        self._tidy_beside()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            self._write(self.format(record).encode() + b"\n")
        except OSError:
            self.lost += 1
        except Exception:  # as every handler of logging: a line that cannot be formatted ends nobody
            self.handleError(record)

    def close(self) -> None:
        """Close the file; what is to be packed is packed by the next start, at the latest."""
        if self._tidying is not None:
            self._tidying.join(1.0)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        super().close()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        found = os.fstat(self._file)
        self._size = found.st_size
        self._day = int((found.st_mtime if self._size else self._clock()) // _DAY)
        tail = os.pread(self._file, _TORN, max(0, self._size - _TORN))
        if tail and not tail.endswith(b"\n"):  # the machine went down in a line
            self._size -= len(tail) - (tail.rfind(b"\n") + 1)
            os.ftruncate(self._file, self._size)

    def _write(self, line: bytes) -> None:
        if self._size and (int(self._clock() // _DAY) != self._day or self._size + len(line) > self._file_bytes):
            self._turn()
        if self.lost:
            told = {"name": __name__, "levelno": logging.WARNING, "msg": f"{self.lost} lines were lost: no room"}
            self._append(self.format(logging.makeLogRecord(told)).encode() + b"\n")
            self.lost = 0
        self._append(line)

    def _append(self, line: bytes) -> None:
        if os.write(self._file, line) < len(line):
            os.ftruncate(self._file, self._size)
            raise OSError("no room for a whole line")
        self._size += len(line)

    def _turn(self) -> None:
        """Close the file under its day's name and begin another."""
        day = _date(self._day)
        taken = [number for date, number, _ in self._old() if date == day]
        os.rename(self.path, self.path.with_name(f"{self.path.stem}.{day}.{max(taken, default=0) + 1}{_SUFFIX}"))
        os.close(self._file)
        self._open()
        self._day = int(self._clock() // _DAY)
        self._tidy_beside()

    # ---- files of days gone by
    def _old(self) -> list[tuple[str, int, Path]]:
        """(date, number, file), the oldest first."""
        found = ((self._closed.fullmatch(path.name), path) for path in self.path.parent.iterdir())
        return sorted((match[1], int(match[2]), path) for match, path in found if match)

    def _tidy_beside(self) -> None:
        """In a thread: packing 256 MB takes seconds, for which nobody may wait."""
        if self._tidying is not None and self._tidying.is_alive():
            return  # the next turn finds what is left
        self._tidying = threading.Thread(target=self.tidy, daemon=True, name="log-tidy")
        self._tidying.start()

    def tidy(self) -> None:
        """Pack what is closed, delete what is too old, and the oldest of what is too much."""
        with suppress(OSError):  # no room to pack: it stays as it is until the next time
            for _, _, path in self._old():
                if path.suffix != ".gz":
                    _pack(path)
        with suppress(OSError):
            oldest = _date(int(self._clock() // _DAY) - self._kept_days)
            old = [(date, path, path.stat().st_size) for date, _, path in self._old()]
            size = sum(one for _, _, one in old)
            for date, path, one in old:
                if date < oldest or size > self._kept_bytes:
                    path.unlink()
                    size -= one


def _date(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()


def _pack(path: Path) -> None:
    draft, packed = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.gz")
    try:
        with open(path, "rb") as plain, gzip.open(draft, "wb", 6) as out:
            shutil.copyfileobj(plain, out, 1 << 20)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    draft.replace(packed)
    path.unlink()


# ---- a process
@dataclass(frozen=True)
class LogOptions:
    """Where a process logs. Without a folder to stderr alone, in that format; with one, stderr has what is fatal."""

    service: str
    folder: Path | None = None
    name: str = ""  # of the file; default: the service
    format: Format = "text"
    level: Level = "INFO"
    run: int | None = None

    @property
    def file(self) -> Path | None:
        """The file of the log."""
        return None if self.folder is None else self.folder / f"{self.name or self.service}{_SUFFIX}"

    def of_child(self, service: str, number: int) -> LogOptions:
        """Of one of several processes that this one starts."""
        return LogOptions(service, self.folder, f"{self.name or self.service}-{number}", self.format, self.level)

    def settings(self) -> dict[str, Any]:
        """As the settings of a process name it."""
        return {
            "log_folder": self.folder, "log_name": self.name, "log_format": self.format, "log_level": self.level,
        }  # fmt: skip


_started: LogOptions | None = None


def started() -> LogOptions | None:
    """What this process logs by, for processes that it starts."""
    return _started


def start(options: LogOptions, quiet: Mapping[str, Level] | None = None) -> None:
    """Log from now on, also what ends the process. `quiet`: the least level of libraries that tell too much."""
    global _started
    _started = options
    lines = JsonLines(options.service, options.run)
    errors: logging.Handler = logging.StreamHandler(sys.stderr)
    errors.setFormatter(lines if options.format == "json" else Text())
    handlers = [errors]
    if options.file is not None:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        file = DailyFile(options.file)
        file.setFormatter(lines)
        errors.setLevel(logging.CRITICAL)  # where whoever started the process finds its last words
        handlers.append(file)
    logging.basicConfig(handlers=handlers, level=LEVELS[options.level], force=True)
    for name, level in (quiet or {}).items():
        logging.getLogger(name).setLevel(LEVELS[level])
    sys.excepthook = _uncaught


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        logging.getLogger("escape.process").critical("the process ends: %r", error, exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


def note(message: str) -> None:
    """A fatal line in the file alone, where there is one: stderr tells it in its own words."""
    record = logging.makeLogRecord(
        {"name": "escape.process", "levelno": logging.CRITICAL, "levelname": "FATAL", "msg": message}
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, DailyFile):
            handler.handle(record)


def bound(path: Path, most: int = CRASH_BYTES) -> None:
    """Keep the end of a file that others append to, in PATH.1, when it has grown beyond `most` bytes."""
    with suppress(OSError):  # it is not there, or there is no room: looked at again
        if path.stat().st_size <= most:
            return
        with open(path, "r+b") as file:
            file.seek(-(most // 16), os.SEEK_END)
            path.with_name(f"{path.name}.1").write_bytes(file.read())
            file.truncate(0)  # they append, so they go on at the beginning

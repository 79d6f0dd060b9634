"""Files that a user names: what cannot be read again is refused at once, what cannot be replaced is written into."""

from __future__ import annotations

import ast
import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import faults
from bench.market.table import write_markdown
from economy.errors import InputError, SetupError
from infra.cli import ingest
from runs import compare_page, report
from runs.blocks import Logged
from runs.container import Container, Manifest, write_container
from runs.formats import write_table
from runs.tapes.lobster import read_tape
from runs.tapes.table import TableTape
from schemas import drafts
from schemas.files import beside, head, is_stream, replacing, writing
from tests.processes import PATIENCE

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


SCHEMA = pa.schema([pa.field("n", pa.int64(), False), pa.field("text", pa.string(), False)])
BLOCKS = [pa.record_batch([[k, k + 1], ["a", "b"]], SCHEMA) for k in range(3)]
RECORDS = [Logged("market.orders.v1", 0, k, k, None, b"value") for k in range(50)]


def _manifest(size: int, sha256: str) -> Manifest:
    return Manifest(7, "x", "finished", "", "", 1, 1, 1, 0, -1, {"market.orders.v1": [50]}, size, sha256, {})


@pytest.fixture(params=["csv", "parquet", "avro", "run", "report", "comparison", "names", "markdown", "faults"])
def write(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], object]:
    """Everything that writes a file which a user names."""
    monkeypatch.setattr(report, "load_run", lambda *_: None)
    monkeypatch.setattr(report, "render", lambda _: "<p>ä</p>")
    monkeypatch.setattr(compare_page, "render_page", lambda _: "<p>ä</p>")
    anything: Any = None

    def table(path: Path) -> object:
        return write_table(path, request.param, "T", SCHEMA, BLOCKS)

    writers: dict[str, Callable[[Path], object]] = {
        "run": lambda path: write_container(path, RECORDS, _manifest),
        "report": lambda path: report.write_report(anything, 7, path),
        "comparison": lambda path: compare_page.write_page(anything, path),
        "names": lambda path: ingest._keep(["a", "b"], path),
        "markdown": lambda path: write_markdown({"figures": [], "machine": {}, "sections": {}}, path),
        "faults": lambda path: faults.write_markdown({}, path),
    }
    for of in ("bench.market.table", "bench.faults"):
        monkeypatch.setattr(f"{of}.markdown", lambda _: "| ä |")
    return writers.get(request.param, table)


def _read_of(path: Path, into: list[bytes]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.append(path.read_bytes()), daemon=True)
    thread.start()
    return thread


def test_a_link_is_followed_and_a_mode_kept(write: Callable[[Path], object], tmp_path: Path) -> None:
    there, link = tmp_path / "there" / "file.avro", tmp_path / "link.avro"
    there.parent.mkdir()
    there.write_text("before")
    there.chmod(0o640)
    link.symlink_to(Path("there") / "file.avro")
    write(link)
    assert link.is_symlink()
    assert there.read_bytes() != b"before"
    assert stat.S_IMODE(there.stat().st_mode) == 0o640
    (tmp_path / "new.avro").symlink_to(tmp_path / "later" / "new")  # a link to what is not there yet
    write(tmp_path / "new.avro")
    assert (tmp_path / "later" / "new").is_file()
    assert (tmp_path / "new.avro").is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "file.avro",
        "later",
        "link.avro",
        "new",
        "new.avro",
        "there",
    ]


def test_a_pipe_and_a_device_are_written_into(write: Callable[[Path], object], tmp_path: Path) -> None:
    plain, fifo, link = (tmp_path / name for name in ("plain.avro", "fifo", "link.avro"))
    write(plain)
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    found: list[bytes] = []
    reading = _read_of(fifo, found)
    write(link)
    reading.join(PATIENCE)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert link.is_symlink()
    (text,) = found
    assert len(text) == plain.stat().st_size  # the marks of Avro are drawn
    device = tmp_path / "device.avro"
    device.symlink_to("/dev/null")
    write(device)
    assert device.is_symlink()
    assert stat.S_ISCHR(device.stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_into(
    name: str, write: Callable[[Path], object], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(tmp_path / "plain")
    print("before", end="")
    write(Path(name))
    out = capfdbinary.readouterr().out
    assert out.startswith(b"before")
    assert len(out) == 6 + (tmp_path / "plain").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_what_cannot_be_written_is_one_error(write: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    linux = [(Path("/proc/nowhere/run"), "No such file"), (Path("/dev/full"), "No space left")]
    linux.append((Path("/dev/fd/777"), "No such file"))
    for path, word in (
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "below", "Not a directory"),
        (tmp_path / "loop", "symbolic links"),
        *(linux if sys.platform == "linux" else []),
    ):
        with pytest.raises(SetupError, match=f"cannot be written: .*{word}"):
            write(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_what_is_no_file_is_told_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.avro")
    (tmp_path / "file").write_text("")
    (tmp_path / "device").symlink_to("/dev/null")
    streams = [tmp_path / "fifo.avro", tmp_path / "device", Path("-"), Path("/dev/null")]
    files = [tmp_path / "file", tmp_path / "not yet", tmp_path, tmp_path / "file" / "below"]
    assert [is_stream(path) for path in (*streams, *files)] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("kind", ["csv", "parquet", "avro"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, SetupError])
def test_what_ends_early_leaves_what_was_there(kind: str, error: type[BaseException], tmp_path: Path) -> None:
    def broken() -> Iterator[Any]:
        yield BLOCKS[0]
        raise error("early")

    path = tmp_path / "table"
    path.write_text("before")
    for blocks in (broken(), broken()):
        with pytest.raises(error):
            write_table(path, kind, "T", SCHEMA, blocks)
        assert path.read_text() == "before"
        assert [each.name for each in tmp_path.iterdir()] == ["table"]


def test_a_table_out_of_a_pipe_is_whole(tmp_path: Path) -> None:
    expected = pa.Table.from_batches(BLOCKS).to_pydict()
    for kind in ("csv", "parquet", "avro"):
        fifo, found = tmp_path / f"{kind}.fifo", list[bytes]()
        os.mkfifo(fifo)
        reading = _read_of(fifo, found)
        assert write_table(fifo, kind, "T", SCHEMA, BLOCKS) == 6
        reading.join(PATIENCE)
        if kind == "csv":
            assert found[0].decode().splitlines() == ["n,text", "0,a", "1,b", "1,a", "2,b", "2,a", "3,b"]
        elif kind == "parquet":
            assert pq.read_table(io.BytesIO(found[0]), page_checksum_verification=True).to_pydict() == expected
        else:
            assert [row["n"] for row in fastavro.reader(io.BytesIO(found[0]))] == expected["n"]


def test_a_mode_that_was_asked_for_holds_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with replacing(path, 0o600) as file:
        (draft,) = tmp_path.iterdir()
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600
        file.write(b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    fresh = tmp_path / "fresh"
    before = os.umask(0o027)
    try:
        with writing(fresh) as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o640
    long = tmp_path / ("ä" * 127)
    with writing(long) as file:
        file.write(b"x")
    assert long.read_bytes() == b"x"


def test_what_is_put_aside_lies_on_the_disk_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    assert beside(tmp_path / "link") == beside(tmp_path / "there" / "deeper" / "file") == tmp_path
    (tmp_path / "there").mkdir()
    assert beside(tmp_path / "link") == tmp_path / "there"
    assert beside(Path("-")) == beside(Path("/dev/null")) != Path("/dev")


# ---- what cannot be replaced, and who was killed
@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that anybody reaches; pytest's own are their owner's, and so may be where temporary files go."""
    there = next(place for place in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm") if _reached(Path(place)))
    monkeypatch.setattr(tempfile, "tempdir", there)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _reached(folder: Path) -> bool:
    """Whether `nobody` may enter a folder."""
    return os.geteuid() != 0 or all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


@contextmanager
def nobody() -> Iterator[None]:
    """Root may write everywhere: the block is another user's."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_in_a_folder_that_is_read_only_is_written_in_place(
    write: Callable[[Path], object], shared: Path
) -> None:
    fresh, there, closed = shared / "fresh", shared / "folder" / "there", shared / "folder" / "closed"
    there.parent.mkdir()
    for path, mode in ((fresh, 0o644), (there, 0o666), (closed, 0o444)):
        path.write_bytes(b"before" * 99_999)
        path.chmod(mode)
    write(fresh)
    number = there.stat().st_ino
    there.parent.chmod(0o555)
    try:
        with nobody():
            write(there)
            with pytest.raises(SetupError, match="Permission denied"):
                write(closed)
            with pytest.raises(SetupError, match="Permission denied"):
                write(there.with_name("new"))
    finally:
        there.parent.chmod(0o755)
    assert there.stat().st_ino == number
    assert there.stat().st_size == fresh.stat().st_size  # the marks of Avro are drawn
    assert closed.read_bytes() == b"before" * 99_999
    assert sorted(path.name for path in there.parent.iterdir()) == ["closed", "there"]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EPERM])
def test_a_file_that_is_mounted_by_itself_is_written_in_place(
    number: int, write: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    fresh, there = tmp_path / "fresh", tmp_path / "there"
    for path in (fresh, there):
        path.write_bytes(b"before" * 99_999)
    write(fresh)
    monkeypatch.setattr(Path, "replace", refused)
    write(there)
    assert there.stat().st_size == fresh.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "there"]
    with pytest.raises(OSError, match=os.strerror(number)), replacing(there):  # our own state is whole, or not written
        pass


def test_what_fails_leaves_a_file_that_cannot_be_replaced_as_it_was(shared: Path) -> None:
    there = shared / "folder" / "there"
    there.parent.mkdir()
    there.write_text("before")
    there.chmod(0o666)
    there.parent.chmod(0o555)

    def write() -> None:
        with nobody(), writing(there) as file:
            file.write(b"part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert there.read_text() == "before"
    there.parent.chmod(0o755)


WRITER = """
import sys
from pathlib import Path
from schemas.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"part")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_draft_goes_with_the_next_write_once_nobody_writes_it(tmp_path: Path) -> None:
    (tmp_path / ".notes.draft").write_text("a person's")
    (tmp_path / ".x.0123456789ab.draft").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "theirs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"writing\n"
        (draft,) = tmp_path.glob(".theirs.*.draft")
        with writing(tmp_path / "ours") as file:
            file.write(b"x")
        assert draft.read_bytes() == b"part"
        other.kill()
        other.wait()
        assert draft.exists()
        with writing(tmp_path / "ours") as file:
            file.write(b"y")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".notes.draft", ".x.0123456789ab.draft", "ours"]


def test_a_draft_that_a_sweep_took_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a draft's opening and its lock another process may find that nobody holds it."""
    lock, taken = fcntl.flock, list[str]()

    def late(descriptor: int, how: int) -> None:
        if not taken:
            taken.append("")
            drafts.sweep(tmp_path)
            assert not list(tmp_path.iterdir())
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with replacing(tmp_path / "file") as file:
        file.write(b"x")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_else_writes_by_renaming() -> None:
    """`Path.replace` has one argument, `str.replace` two; whole folders are no matter of this helper."""
    root = Path(__file__).parents[2]
    packages = ("economy", "schemas", "agents", "streams", "jobs", "queries", "runs", "infra", "bench")
    for path in (path for package in packages for path in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
                renames = node.func.attr in ("replace", "rename") and not node.keywords
                assert not renames or path.name in ("files.py", "jars.py"), f"{path}:{node.lineno}"

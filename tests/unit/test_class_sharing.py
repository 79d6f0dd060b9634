"""Java's archive of loaded classes: written by the first process, read by the next, and never a part of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.broker import Broker
from jobs.classes import ClassArchive


def draft_of(archive: ClassArchive) -> Path:
    option, _, draft = archive.option().partition("=")
    assert option == "-XX:ArchiveClassesAtExit"
    return Path(draft)


def test_the_first_process_writes_the_archive_and_the_next_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "spark.jsa"
    first, beside = ClassArchive(path), ClassArchive(path)
    draft = draft_of(first)
    assert draft.parent == path.parent  # which is there now
    assert len({draft, draft_of(beside), path}) == 3  # one that is being written is nobody's to read
    draft.write_bytes(b"classes")
    first.settle(143)  # as Java ends by SIGTERM
    beside.settle(0)  # it wrote none
    assert [each.name for each in path.parent.iterdir()] == ["spark.jsa"]
    assert ClassArchive(path).option() == f"-XX:SharedArchiveFile={path}"


@pytest.mark.parametrize("code", [-9, -6, None])
def test_what_java_did_not_end_is_thrown_away(code: int | None, tmp_path: Path) -> None:
    archive = ClassArchive(tmp_path / "spark.jsa")
    draft_of(archive).write_bytes(b"half of the cl")
    archive.settle(code)
    assert not list(tmp_path.iterdir())


def test_drafts_of_the_killed_go_with_the_next_start(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    path = tmp_path / "broker.jsa"
    left = tmp_path / f"broker.jsa.{gone.pid}.01234567"
    others = {tmp_path / f"broker.jsa.{os.getpid()}.01234567", tmp_path / f"spark.jsa.{gone.pid}.01234567"}
    for each in (left, *others):
        each.write_bytes(b"half")
    ClassArchive(path).option()
    assert set(tmp_path.iterdir()) == others


@pytest.mark.parametrize(("patience", "kept"), [(60, True), (0.1, False)])
def test_a_broker_that_is_killed_while_it_writes_its_classes_leaves_none(
    patience: float, kept: bool, tmp_path: Path
) -> None:
    """A stand-in for Java, which at SIGTERM writes its archive in two halves."""
    archive = tmp_path / "classes" / "broker.jsa"
    broker = Broker(tmp_path / "broker", tmp_path, "", archive=archive)
    assert broker._archive is not None
    (tmp_path / "draft").write_text(str(draft_of(broker._archive)))
    java = f"""
import pathlib, signal, sys, time
def end(*_):
    draft = pathlib.Path({str(tmp_path / "draft")!r}).read_text()
    open(draft, "w").write("half")
    time.sleep({0 if kept else 60})
    open(draft, "a").write(" and half")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""
    broker.process = subprocess.Popen([sys.executable, "-c", java], stdout=subprocess.PIPE)
    assert broker.process.stdout is not None
    assert broker.process.stdout.readline() == b"up\n"
    broker.process.stdout.close()
    broker.stop(patience)
    assert [path.read_text() for path in archive.parent.iterdir()] == (["half and half"] if kept else [])

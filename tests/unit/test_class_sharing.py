"""Java's archive of loaded classes: written by the first local job, read by the next, whatever the folder is called."""

from __future__ import annotations

import shlex
from pathlib import Path

from jobs.config import JobConfig
from jobs.session import _class_sharing


def test_the_first_job_writes_the_archive_and_the_next_reads_it(tmp_path: Path) -> None:
    archive = tmp_path / "a folder" / "spark.jsa"
    config = JobConfig("", "", archive=str(archive))
    (written, *_) = shlex.split(_class_sharing(config))
    option, _, draft = written.partition("=")
    assert option == "-XX:ArchiveClassesAtExit"
    assert Path(draft).parent == archive.parent  # which is there now
    assert Path(draft) != archive  # one that is being written is nobody's to read
    archive.parent.rmdir()
    archive.parent.mkdir()
    archive.write_bytes(b"")
    assert shlex.split(_class_sharing(config))[0] == f"-XX:SharedArchiveFile={archive}"


def test_without_an_archive_java_is_told_nothing() -> None:
    assert _class_sharing(JobConfig("", "")) == ""

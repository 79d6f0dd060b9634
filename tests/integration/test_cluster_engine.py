"""Containers without Docker: what they see, what they do not, and that nothing of them is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.sandbox import contained, lacking

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(lacking()), reason=lacking() or "it can be made")]


def test_containers_are_what_compose_says_and_nothing_is_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mounts, hosts = Path("/proc/self/mounts").read_text(), Path("/etc/hosts").read_text()
    code = contained([sys.executable, "-m", "tests.cluster.toy", str(tmp_path)])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert out.splitlines()[:4] == [
        "published b'secret one  two\\n'",
        "by name b'secret one  two\\n'",
        "alone ['mine'] True",
        "named client /app",
    ]
    refused = [line for line in out.splitlines() if line.startswith("refused")]
    assert "Read-only file system" in refused[0]
    assert "Network is unreachable" in refused[1]
    assert out.splitlines()[-1] == "again b'secret one  two\\n'"
    assert Path("/proc/self/mounts").read_text() == mounts
    assert Path("/etc/hosts").read_text() == hosts
    assert not Path("/app").exists()


def test_what_was_started_ends_with_whoever_started_it(tmp_path: Path) -> None:
    mark = f"left-behind-by-{tmp_path.name}"  # a word of its command line
    left = f"import subprocess, os; subprocess.Popen(['sh', '-c', 'sleep 1000; : {mark}']); os._exit(7)"
    assert contained([sys.executable, "-c", left]) == 7
    assert subprocess.run(["pgrep", "-f", mark], capture_output=True).returncode == 1


def test_a_machine_whose_files_are_a_layer_already_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As inside a container of Docker that may make namespaces: no second layer can be kept on the first."""
    ask = "from tests.cluster.sandbox import lacking; print(lacking())"
    inside = (
        'mount -t tmpfs tmpfs . && cd "$PWD" && mkdir upper work root && '
        'mount -t overlay overlay -o "lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work" root && '
        'TMPDIR="$PWD/root/tmp" exec "$0" -c "$1"'
    )
    command = ["sh", "-c", f'here=$PWD; cd "$2" && PYTHONPATH="$here" && export PYTHONPATH && {inside}']
    assert contained([*command, sys.executable, ask, str(tmp_path)]) == 0
    assert capfd.readouterr().out.startswith("the kernel makes no containers here: mount: ")

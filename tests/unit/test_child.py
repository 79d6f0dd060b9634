"""A server that does not start says why in the message itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.child import end, ended_early, last_words


def test_the_message_holds_the_error_and_where_to_look(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with open(log, "wb") as file:
        process = subprocess.Popen([sys.executable, "-c", "import nonsense"], stderr=file)
        process.wait()
    problem = str(ended_early("the server", process, tmp_path / "none.log", log))
    assert "ended with code 1" in problem
    assert "ModuleNotFoundError: No module named 'nonsense'" in problem
    assert str(log) in problem


def test_an_error_before_the_last_line_is_the_one_that_counts(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("INFO start\nERROR disk full\nINFO bye\n\n")
    assert last_words(log) == "ERROR disk full"
    log.write_text("INFO start\nINFO bye\n")
    assert last_words(log) == "INFO bye"
    assert last_words(tmp_path / "none") == ""


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    end(process, timeout=0.2)
    assert process.returncode == -9
    process.stdout.close()
    end(process)  # again does nothing
    end(None)


def test_what_tests_start_hears_ctrl_c_also_where_a_script_runs_them_beside_it() -> None:
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)"
    started = f"import subprocess, sys, tests.conftest; subprocess.run([sys.executable, '-c', {ask!r}], check=True)"
    done = subprocess.run(
        ["sh", "-c", "trap '' INT; exec \"$0\" -c \"$1\"", sys.executable, started],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "True\n"

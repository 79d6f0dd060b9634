"""What is asked of a tape, or another model's run, that only the village's runs have: told in words of the question."""

from __future__ import annotations

import numpy as np
import pytest

from economy.errors import InputError
from runs.accounts import read_accounts, windows_of
from runs.log import RunInfo
from runs.show import check_cuts
from schemas.log.clocklog import ClockLog
from schemas.log.founding import Founding
from schemas.log.history import Segment


@pytest.mark.parametrize(("last_epoch", "word"), [(-1, "it is a tape"), (99, "it is no run of the village")])
@pytest.mark.parametrize("scenario", ["{}", "null", "", "[1]"])
def test_national_accounts_of_what_has_none(scenario: str, last_epoch: int, word: str) -> None:
    info = RunInfo(7, "x", 0, "finished", last_epoch, last_epoch, 1, "", {"run": 7, "scenario": scenario})
    with pytest.raises(InputError, match=f"run = 7 .*{word} and has no national accounts"):
        list(windows_of([], info, Founding(np.empty(0, np.int64), (), ())))
    with pytest.raises(InputError, match=word):
        read_accounts("nowhere:1", "escape", info)  # told before the log is asked


def test_a_tape_has_no_cuts() -> None:
    clock = ClockLog(7)
    clock.started = {"run": 7, "last_epoch": -1}
    with pytest.raises(InputError, match=r"run = 7 .*it is a tape.*--provenance"):
        check_cuts(Segment(clock, -1, -1, {}, {}))

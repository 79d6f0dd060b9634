"""The process in which the driver of a sweep's Ray lives: `python -m runs.sweephost`, asked as agents/host.py is.

A driver ends its process without a word when the raylet is gone; what waits for the sweep is another one, and says so.
"""

from __future__ import annotations

from typing import Any, Final

from agents.host import Answer, family, serve
from economy.errors import EscapeError, SetupError
from runs.sweep import AGAIN, outcome_of

_WAIT_SECONDS: Final = 0.5


class Jobs:
    """Runs that Ray computes somewhere."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def begin(self, jobs: list[tuple[str, int]]) -> Answer:
        """Have a run computed for each pair (scenario as text, seed)."""
        import ray

        task = ray.remote(num_cpus=1, max_retries=3)(outcome_of)
        self._numbers = {task.remote(scenario, seed): number for number, (scenario, seed) in enumerate(jobs)}
        return {}

    def done(self) -> Answer:
        """(place among the jobs, outcome) of a run that has ended, if one does within half a second.

        Raises SetupError when Ray has lost a run, and what a run raised.
        """
        import ray

        ready, _ = ray.wait(list(self._numbers), timeout=_WAIT_SECONDS)
        try:
            found = [(self._numbers.pop(job), ray.get(job)) for job in ready]
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EscapeError):
                raise error.cause from error
            raise
        except ray.exceptions.RayError as error:
            raise SetupError(f"Ray lost runs of the sweep: {str(error).partition(chr(10))[0]}", AGAIN) from error
        return {"done": found, **family()}


if __name__ == "__main__":
    runs = Jobs()
    serve({"begin": runs.begin, "done": runs.done})

"""The process in which Ray's driver lives: `python -m agents.host`, told what to do by a line of JSON at a time.

Ray's driver may hang, or abort its process, when a process of Ray dies. So it is nobody's but this one's, which whoever
waits for a run can end and start again. The first line that comes is `{"address": …, "folder": …, "cpus": …}`; every
line is answered by one that repeats its number `n` and holds what was asked for, or `error` and `remedy`. The end of
the input ends all.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import psutil

from agents.actor import start_actor
from agents.cluster import start_ray, stop_ray
from agents.loop import ShardConfig
from economy.errors import EscapeError

_STATUS_SECONDS: Final = 2.0  # that shards have to answer; one that is being started again does not
Answer = dict[str, Any]


class Shards:
    """The actors of all runs of this process."""

    def __init__(self) -> None:
        self._actors: dict[int, list[Any]] = {}

    def start(self, run: int, shards: list[tuple[Mapping[str, Any], str]]) -> Answer:
        """Start an actor for each pair of (configuration, path of its log)."""
        self._actors[run] = [start_actor(ShardConfig(**config), path) for config, path in shards]
        return {}

    def status(self, run: int) -> Answer:
        """Progress of the run's shards that answer."""
        import ray

        asked = [actor.status.remote() for actor in self._actors.get(run, ())]
        found = []
        for answer in ray.wait(asked, num_returns=len(asked), timeout=_STATUS_SECONDS)[0] if asked else ():
            try:
                found.append(ray.get(answer))
            except ray.exceptions.RayError:
                continue
        return {"shards": found}

    def stop(self, run: int) -> Answer:
        """End the run's actors."""
        import ray

        for actor in self._actors.pop(run, ()):
            ray.kill(actor)
        return {}


def family() -> Answer:
    """(pid, time of start, name) of every process that Ray has started below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found.append((process.pid, process.create_time(), process.name()))
        except psutil.NoSuchProcess:
            continue
    return {"processes": found}


def _answered(asked: Answer, task: Callable[..., Answer]) -> str:
    number = asked.pop("n")
    try:
        answer = task(**asked)
    except EscapeError as error:
        answer = {"error": error.message, "remedy": error.remedy}
    return json.dumps({"n": number, **answer})


def begin(address: str, folder: str, cpus: int) -> Answer:
    """Start Ray, or join it. Raises SetupError."""
    start_ray(address, folder, cpus)
    return family()


def serve(tasks: Mapping[str, Callable[..., Answer]]) -> None:
    """Answer by the tasks, and `family`, until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # where Ray prints
    chosen = json.loads(sys.stdin.readline())
    known = {**tasks, "family": family}
    try:
        print(_answered(dict(chosen), begin), file=answers)
        for line in sys.stdin:
            asked = json.loads(line)
            print(_answered(asked, known[asked.pop("task")]), file=answers)
    finally:
        stop_ray()
        shutil.rmtree(chosen["folder"], ignore_errors=True)  # whoever made it may have been killed


if __name__ == "__main__":
    shards = Shards()
    serve({"start": shards.start, "status": shards.status, "stop": shards.stop})

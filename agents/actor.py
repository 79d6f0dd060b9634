"""The Ray actor around a shard's loop."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.loop import ShardConfig, ShardLoop, StoppedError
from economy.errors import InputError
from telemetry.logs import LEVELS, DailyFile, JsonLines

log = logging.getLogger("escape.shard")


def _handler(log_file: str, run: int) -> logging.Handler:
    """The run's folder where it is on this machine too, else stderr, which Ray keeps among its node's logs.

    An actor that cannot be made is made again for ever, so a log that cannot be written must not stop it.
    """
    try:
        handler: logging.Handler = DailyFile(Path(log_file))
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(JsonLines("shard", run))
    return handler


class ShardActor:
    """What Ray runs: the loop in a thread, so that calls are answered meanwhile. Wrapped by `start_actor`."""

    def __init__(self, config: Mapping[str, Any], log_file: str) -> None:
        told = ShardConfig(**config)
        logging.basicConfig(handlers=[_handler(log_file, told.run)], level=LEVELS[told.log_level])
        log.info("shard %d starts", told.shard)  # each start: a run's log tells how often it was started again
        self.loop = ShardLoop(told)
        threading.Thread(target=self._guarded, daemon=True).start()

    def _guarded(self) -> None:
        try:
            try:
                self.loop.run()
            except InputError as error:  # of the run's record or a change: every other start would meet it again
                self.loop.refuse(error)
        except StoppedError as error:
            log.warning("shard %d ends: %s", self.loop.config.shard, error)
            self.loop.doing, self.loop.stopped = error.message, True
        except BaseException as error:
            log.critical("shard %d ends while: %s", self.loop.config.shard, self.loop.doing, exc_info=error)
            logging.shutdown()
            os._exit(1)  # Ray starts the actor again, which restores the newest snapshot

    def status(self) -> dict[str, Any]:
        """Progress of the loop."""
        return self.loop.status()


def start_actor(config: ShardConfig, log_file: str) -> Any:
    """A Ray actor that Ray restarts whenever its process dies."""
    import ray

    untyped: Any = ray.remote
    # They ask for no processor, so Ray would put all of them on the first node.
    remote = untyped(num_cpus=0, max_restarts=-1, max_concurrency=4, scheduling_strategy="SPREAD")(ShardActor)
    return remote.remote(asdict(config), log_file)

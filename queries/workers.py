"""Processes that execute queries, behind one that answers HTTP.

Python executes on one processor at a time: with an engine in each of several processes a query uses all of them, and an
answer that is known, which the front process gives, never waits behind one that is being computed. Front and worker
talk over a pair of sockets that nobody else can reach: pickled messages, each behind its length. A worker ends when its
front does. Queries change nothing, so one that a dying worker held is asked again of another.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, Final

from economy.errors import EscapeError
from queries.engine import Answer, Asked, Engine, EngineConfig, refusal
from queries.reader import Stores
from queries.settings import WorkerSettings
from telemetry import logs
from telemetry.process import run_process

log = logging.getLogger("escape.queries")

_LENGTH: Final = struct.Struct(">Q")
_TRIES: Final = 2  # workers that a query may be asked of: it may be the query that ends them
_PAUSE: Final = 1.0  # seconds before a worker that ended is started again
_REPORT: Final = 2.0  # seconds in which a worker is to tell what it keeps
_END: Final = 3.0  # seconds in which a worker is to end
# Objects that make the collector look for cycles among the young, the middle and all. A look at all stops every query
# for as long as there is remembered data: 0.1 s, at Python's own thresholds twice a second.
_CYCLES: Final = (10_000, 50, 100)
# A thread that has read a part of ClickHouse's answer waits this long for the interpreter while queries are executed:
# at Python's 5 ms a statement of four parts would wait for 20.
_SWITCH: Final = 0.0005


class LostError(EscapeError):
    """A worker ended before it answered."""


def tune() -> None:
    """Settings of the interpreter for a process that executes queries."""
    sys.setswitchinterval(_SWITCH)
    gc.freeze()  # the schema and the libraries stay
    gc.set_threshold(*_CYCLES)


class Channel:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """The channel of a connected socket."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, message: Any) -> None:
        """Send once there is room; what the other end no longer takes is lost with it."""
        packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(packed)) + packed)

    async def receive(self) -> Any:
        """The next message. Raises EOFError when the other end is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return pickle.loads(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise EOFError from error

    def close(self) -> None:
        """Let the other end know."""
        self._writer.close()


class Worker:
    """The front's side of one worker."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.process = process
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self.ended = asyncio.ensure_future(self._receive())

    @classmethod
    async def start(cls, config: EngineConfig, number: int = 0) -> Worker:
        """A process with an engine of these settings."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            own = logs.started()
            of_log = {} if own is None else own.of_child(WorkerSettings.SERVICE, number).settings()
            command = WorkerSettings(descriptor=descriptor, **of_log).command()
            process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[descriptor], stdin=asyncio.subprocess.DEVNULL
            )
        channel = await Channel.over(ours)
        channel.send(config)
        return cls(process, channel)

    @property
    def load(self) -> int:
        """How many messages it has not answered."""
        return len(self._waiting)

    async def ask(self, message: Any) -> Any:
        """Its answer. Raises LostError when it ends first."""
        if self.ended.done():
            raise LostError("the worker has ended")
        self._number += 1
        number, waiting = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._channel.send((number, message))
        try:
            return await waiting
        finally:
            self._waiting.pop(number, None)

    async def _receive(self) -> None:
        try:
            while True:
                number, answer = await self._channel.receive()
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except EOFError:
            pass
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(LostError("the worker has ended"))
            self._channel.close()

    async def close(self) -> None:
        """End it."""
        self._channel.close()
        try:
            await asyncio.wait_for(self.process.wait(), _END)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Workers:
    """A number of workers that are started again when they end; a query goes to the one that has least to do."""

    def __init__(self, config: EngineConfig, number: int) -> None:
        own = EngineConfig(**{f.name: getattr(config, f.name) for f in fields(EngineConfig)})
        self._config = replace(own, memory_bytes=own.memory_bytes // number)  # each remembers for itself
        self._number = number
        self._alive: list[Worker] = []
        self._some = asyncio.Event()  # may be alive
        self._keeping: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Workers:
        self._keeping = [asyncio.create_task(self._keep(number)) for number in range(self._number)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for keeping in self._keeping:
            keeping.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def answer(self, asked: Asked) -> Answer:
        """The answer of a worker."""
        for _ in range(_TRIES):
            worker = await self._free()
            with suppress(LostError):
                answer: Answer = await worker.ask(asked)
                return answer
        return refusal(503, "the processes that answer queries ended over this one: ask for less, or ask again")

    async def _free(self) -> Worker:
        """The one that has least to do."""
        while not (alive := [worker for worker in self._alive if not worker.ended.done()]):
            self._some.clear()
            await self._some.wait()
        return min(alive, key=lambda worker: worker.load)

    async def report(self) -> list[dict[str, int]]:
        """What each that answers keeps."""
        asked = (asyncio.wait_for(worker.ask(None), _REPORT) for worker in self._alive)
        told = await asyncio.gather(*asked, return_exceptions=True)
        return [one for one in told if not isinstance(one, BaseException)]

    async def _keep(self, number: int) -> None:
        while True:
            try:
                worker = await Worker.start(self._config, number)
            except OSError:
                log.exception("a worker cannot be started; it is tried again")
            else:
                await self._while_alive(worker)
                log.error("worker %d ended; it is started again", worker.process.pid)
            await asyncio.sleep(_PAUSE)

    async def _while_alive(self, worker: Worker) -> None:
        self._alive.append(worker)
        self._some.set()
        try:
            await worker.ended
        finally:
            self._alive.remove(worker)
            await worker.close()


# ---- the worker's side
async def work(end: socket.socket) -> None:
    """Answer what comes over the socket. Raises EOFError when the front is gone."""
    channel = await Channel.over(end)
    config: EngineConfig = await channel.receive()
    assert config.clickhouse is not None
    engine = Engine(config, Stores(config.clickhouse))
    tune()
    answering: set[asyncio.Task[None]] = set()

    async def one(number: int, message: Asked | None) -> None:
        try:
            answer = engine.report() if message is None else await engine.answer(message)
        except Exception:  # whatever it is: the front waits for an answer
            log.exception("a query was not answered")
            answer = refusal(500, "internal error; its cause is in the server's log")
        channel.send((number, answer))

    while True:
        task = asyncio.create_task(one(*await channel.receive()))
        answering.add(task)
        task.add_done_callback(answering.discard)


def serve(told: WorkerSettings) -> None:
    """Run a worker; its front starts it, and tells it to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(until_gone(work(socket.socket(fileno=told.descriptor))))


async def until_gone(working: Coroutine[Any, Any, None]) -> None:
    """End this process with its front; statements that nobody waits for any more are left to themselves."""
    with suppress(EOFError):
        await working
    os._exit(0)


if __name__ == "__main__":
    sys.exit(run_process(WorkerSettings, serve))

"""The embedded ClickHouse as a child process, and its entry point: `python -m infra.clickhouse --data DIR --port N`."""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from economy.errors import SetupError
from infra.broker import free_port, port_taken
from infra.child import end, ended_early
from telemetry.logs import bound
from telemetry.process import ProcessSettings, run_process

DATABASE = "escape"
_LOCK_SECONDS = 15.0  # a server that is still closing the store gets this long


class EngineSettings(ProcessSettings):
    """The embedded ClickHouse."""

    MODULE: ClassVar[str] = "infra.clickhouse"
    SERVICE: ClassVar[str] = "clickhouse"
    data: Path = Field(description="folder of the tables, the passwords and the log")
    port: int = Field(ge=0, le=65535, description="port of 127.0.0.1")


class EmbeddedClickHouse:
    """A server that this process starts and stops. `url` is its address once `start` returned."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def password(self, user: str = "escape") -> str:
        """Password of a user: `escape` may do everything that the server allows, `reader` only reads."""
        found: str = json.loads((self.folder / "passwords.json").read_text())[user]
        return found

    def dsn(self, user: str = "escape") -> str:
        """Address with user, password and database: a secret."""
        return f"http://{user}:{self.password(user)}@127.0.0.1:{self._port}/{DATABASE}"

    def start(self, timeout: float = 60.0) -> EmbeddedClickHouse:
        """Start and wait until it answers to its own password. Raises SetupError with where its log is."""
        self._port = self._port or free_port()
        if port_taken(self._port):
            raise SetupError(f"port {self._port} is taken", "stop what listens there, or set clickhouse_port = 0")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            bound(self.folder / "clickhouse.log")
            log = open(self.folder / "clickhouse.log", "ab")  # noqa: SIM115  (closed below, the child keeps its own)
        except OSError as error:
            raise SetupError(
                f"{self.folder} cannot be written: {error.strerror}", "choose another state folder"
            ) from error
        command = EngineSettings(data=self.folder, port=self._port).command()
        with log:
            # A session of its own: Ctrl-C reaches the command line first, which then stops things in order.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        limit = time.monotonic() + timeout
        while not self.healthy():
            if self.process.poll() is not None:
                raise ended_early("ClickHouse", self.process, self.folder / "clickhouse.log")
            if time.monotonic() > limit:
                self.stop()
                raise SetupError("ClickHouse did not start in time", f"see {self.folder / 'clickhouse.log'}")
            time.sleep(0.05)
        return self

    def healthy(self) -> bool:
        """True when the server on our port knows our password and answers a query."""
        try:
            token = base64.b64encode(f"reader:{self.password('reader')}".encode()).decode()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            try:
                connection.request("POST", "/", b"SELECT 1", {"Authorization": f"Basic {token}"})
                return connection.getresponse().read() == b"1\n"
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            return False

    def stop(self, timeout: float = 10.0) -> None:
        """End it: SIGTERM, after `timeout` seconds SIGKILL. Returns when the store is free for another process."""
        end(self.process, timeout)

    def __enter__(self) -> EmbeddedClickHouse:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _lock(folder: Path) -> int:
    """Hold the folder for this process. Raises SetupError when another one keeps it."""
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    limit = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError as error:
            if time.monotonic() > limit:
                raise SetupError(f"another process uses {folder}", "stop it, or set another state") from error
            time.sleep(0.1)


def serve(options: EngineSettings) -> None:
    """Serve until SIGTERM. Raises SetupError when folder or port are another's."""
    folder = options.data.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _lock(folder)
        # Only the server's process loads the engine: it takes hundreds of megabytes.
        from infra import chserver

        chserver.serve(folder, options.port)
        os.close(handle)
    except OSError as error:
        raise SetupError(
            f"{error.filename or folder} on port {options.port}: {error.strerror}", "set another state or port"
        ) from error


if __name__ == "__main__":
    sys.exit(run_process(EngineSettings, serve))

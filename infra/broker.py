"""The embedded broker: Apache Kafka in KRaft mode, one node, as a child process with all state in one folder."""

from __future__ import annotations

import base64
import random
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from economy.errors import SetupError
from infra.child import end, ended_early
from infra.java import file_logging
from jobs.classes import ClassArchive
from telemetry.logs import bound

_PROPERTIES: Final = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log}
num.partitions=1
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=268435456
controlled.shutdown.max.retries=1
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""
# Below what Linux (32768) and macOS (49152) give to connections by themselves: a server that starts, or starts again,
# on its port later would else meet one there.
_PORTS: Final = range(20_000, 32_000)
_HEAP: Final = ("-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Xshare:auto")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now and that no outgoing connection takes. Raises SetupError."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise SetupError("no TCP port is free on 127.0.0.1", "set broker_port and clickhouse_port")


def port_taken(port: int) -> bool:
    """True when something listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Broker:
    """A broker that this process starts and stops. `bootstrap` is its address once `start` returned."""

    def __init__(
        self,
        folder: Path,
        java_home: Path,
        classpath: str,
        port: int = 0,
        options: Sequence[str] = (),
        archive: Path | None = None,
        on_start: Callable[[int], None] | None = None,
    ) -> None:
        self.folder = folder
        self._java = java_home / "bin" / "java"
        self._classpath = classpath
        self._port = port
        self._options = tuple(options)
        self._archive = ClassArchive(archive) if archive is not None else None
        self._on_start = on_start
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    def _prepare(self) -> str:
        """Write the configuration; returns the cluster id of the (new or old) log."""
        log = self.folder / "log"
        meta = log / "meta.properties"
        if not self._port:
            self._port = free_port()
        if port_taken(self._port):
            raise SetupError(f"port {self._port} is taken", "stop what listens there, or set broker_port = 0")
        try:
            log.mkdir(parents=True, exist_ok=True)
            if not meta.exists():
                cluster, directory = (base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode() for _ in "ab")
                meta.write_text(f"version=1\ncluster.id={cluster}\nnode.id=1\ndirectory.id={directory}\n")
            properties = _PROPERTIES.format(port=self._port, controller=free_port(), log=log)
            (self.folder / "server.properties").write_text(properties)
            (self.folder / "log4j2.properties").write_text(file_logging(self.folder / "broker.log"))
        except OSError as error:
            raise SetupError(
                f"{self.folder} cannot be written: {error.strerror}", "choose another state folder"
            ) from error
        return next(line.split("=", 1)[1] for line in meta.read_text().splitlines() if line.startswith("cluster.id="))

    def start(self, timeout: float = 60.0) -> Broker:
        """Start and wait until it answers with its own cluster id. Raises SetupError with where its log is."""
        cluster = self._prepare()
        options = list(self._options)
        if self._archive is not None:
            options.append(self._archive.option())
        command = [
            str(self._java), *_HEAP, *options, "-Djava.awt.headless=true", "-Duser.timezone=UTC",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp", self._classpath, "kafka.Kafka", str(self.folder / "server.properties"),
        ]  # fmt: skip
        bound(self.folder / "console.log")
        with open(self.folder / "console.log", "ab") as console:
            # A session of its own: Ctrl-C reaches the command line first, which then stops things in order.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
        if self._on_start:  # known before it answers, so that a start that is cut off leaves no orphan
            self._on_start(self.process.pid)
        self._wait(cluster, time.monotonic() + timeout)
        return self

    def _wait(self, cluster: str, limit: float) -> None:
        assert self.process is not None
        while not port_taken(self._port):
            if self.process.poll() is not None:
                raise ended_early("the broker", self.process, self.folder / "console.log", self.folder / "broker.log")
            if time.monotonic() > limit:
                self.stop()
                raise SetupError("the broker did not start in time", f"see {self.folder}/*.log")
            time.sleep(0.05)
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while True:
            try:
                answered = admin.list_topics(timeout=5).cluster_id
            except KafkaException as error:
                if time.monotonic() > limit:
                    self.stop()
                    raise SetupError("the broker does not answer", f"see {self.folder}/*.log") from error
                continue
            if answered != cluster:
                self.stop()
                raise SetupError(f"a foreign broker ({answered}) answers on port {self._port}", "choose another port")
            return

    def stop(self, timeout: float = 10.0) -> None:
        """End it: SIGTERM, after `timeout` seconds SIGKILL (the log is recovered at the next start)."""
        end(self.process, timeout)
        if self._archive is not None and self.process is not None:
            self._archive.settle(self.process.returncode)

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

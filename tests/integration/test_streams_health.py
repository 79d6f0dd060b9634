"""Real brokers that refuse a matching worker, and workers that stand still: they end with a line, or are told ill."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from infra.broker import Broker
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings
from schemas.catalogue import ORDERS, topic
from schemas.log import topics
from schemas.log.writer import LogWriter
from streams.settings import HealthSettings
from tests.integration.commands import until
from tests.integration.toy import open_run, send_epoch, start_worker
from tests.processes import PATIENCE

pytestmark = pytest.mark.integration
AUTHORIZER = """authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""
ANYBODY = "User:ANONYMOUS"


class Guarded(Broker):
    """A broker that can be told to deny."""

    def _prepare(self) -> str:
        cluster = super()._prepare()
        with open(self.folder / "server.properties", "a") as properties:
            properties.write(AUTHORIZER)
        return cluster

    def deny(self, kind: ResourceType, name: str, operation: AclOperation) -> None:
        binding = AclBinding(kind, name, ResourcePatternType.LITERAL, ANYBODY, "*", operation, AclPermissionType.DENY)
        allowed = AclBinding(
            kind, name, ResourcePatternType.LITERAL, ANYBODY, "*", AclOperation.ALL, AclPermissionType.ALLOW
        )
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_acls([allowed, binding]).values():
            future.result()

    def allow(self) -> None:
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.delete_acls([everything]).values():
            future.result()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    classpath = broker_classpath(settings.cache_folder, home)
    with Guarded(
        tmp_path_factory.mktemp("guarded"), home, classpath, options=("-XX:TieredStopAtLevel=1",),
        archive=settings.cache_folder / "broker-c1.jsa",
    ) as running:  # fmt: skip
        assert isinstance(running, Guarded)
        yield running


@contextmanager
def working(broker: Broker, namespace: str, folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    worker = start_worker(broker.bootstrap, namespace, 1, folder, options=options)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def ended(worker: subprocess.Popen[bytes], folder: Path) -> str:
    """The last line of a worker that must end by itself, with the code that the supervisor takes for a failure."""
    assert worker.wait(PATIENCE) == 3
    return (folder / "w0.log").read_text().strip().splitlines()[-1]


def health(folder: Path) -> tuple[int, str]:
    """What the command that others call says."""
    done = subprocess.run(HealthSettings(data=folder, name="w0").command(), capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


def test_a_session_timeout_that_the_broker_does_not_take(broker: Broker, namespace: str, tmp_path: Path) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    with working(broker, namespace, tmp_path, "--session-timeout", "0.5") as worker:  # it takes a second or more
        told = ended(worker, tmp_path)
    assert f"the group {namespace}-matching refuses this worker: InvalidSessionTimeoutError" in told
    assert "--session-timeout" in told


@pytest.mark.parametrize(
    ("kind", "words"),
    [(ResourceType.GROUP, "let its user read the group"), (ResourceType.TOPIC, "let its user read the topic")],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_worker_that_may_not_read(
    guarded: Guarded, namespace: str, tmp_path: Path, kind: ResourceType, words: str, late: bool
) -> None:
    """From the start, or from some time on."""
    topics.create(guarded.bootstrap, namespace, 1, 1)
    name = topic(namespace, ORDERS) if kind == ResourceType.TOPIC else f"{namespace}-matching"
    if not late:
        guarded.deny(kind, name, AclOperation.READ)
    try:
        with working(guarded, namespace, tmp_path) as worker:
            if late:
                until(lambda: "stage replayed" in (tmp_path / "w0.log").read_text())
                guarded.deny(kind, name, AclOperation.READ)
            told = ended(worker, tmp_path)
        assert "AuthorizationFailed" in told
        assert words in told
    finally:
        guarded.allow()


def test_a_worker_that_does_nothing_is_told_ill_and_well_again(broker: Broker, namespace: str, tmp_path: Path) -> None:
    topics.create(broker.bootstrap, namespace, 1, 1)
    with working(broker, namespace, tmp_path) as worker:
        until(lambda: health(tmp_path) == (0, ""))
        worker.send_signal(signal.SIGSTOP)
        writer = LogWriter(broker.bootstrap, namespace)
        open_run(writer, 1, 1, 9)
        send_epoch(writer, 1, 0, 1, 9, 10)
        writer.flush()
        code, told = until(lambda: health(tmp_path) if health(tmp_path)[0] else None)
        assert code == 1
        assert "has said nothing for" in told
        worker.send_signal(signal.SIGCONT)
        until(lambda: health(tmp_path) == (0, ""))

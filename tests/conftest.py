"""Fixtures: one real broker per process of tests, a topic namespace of its own for every test."""

from __future__ import annotations

import gc
import os
import signal
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import HealthCheck, settings

from infra.broker import Broker
from infra.jars import broker_classpath
from infra.java import java_home
from infra.settings import load_settings

if TYPE_CHECKING:
    from runs.rayhost import RayHost

# A shell without job control starts what goes on beside it deaf to Ctrl-C, and so would be all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is about time; the first call of a compiled kernel alone may take longer than a deadline, and on a loaded
# machine examples may be as slow to make as hypothesis suspects only of bad strategies.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


_BYTES_A_PROCESS = 6 << 30  # of memory: a broker, Ray, Spark, ClickHouse's engine and what a test starts beside them


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `-n auto` means: one per core that is ours, where memory suffices."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().total // _BYTES_A_PROCESS))


@pytest.fixture(scope="module", autouse=True)
def _left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the tests of a module leave open is found at its end, and told there instead of in a test of another."""
    yield
    if request.node.get_closest_marker("integration"):
        gc.collect()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    settings = load_settings()
    home = java_home(settings.java_home, settings.cache_folder)
    # The quick compiler alone: a test's broker lives too short to repay the optimising one.
    with Broker(
        tmp_path_factory.mktemp("broker"),
        home,
        broker_classpath(settings.cache_folder, home),
        options=("-XX:TieredStopAtLevel=1",),
        archive=settings.cache_folder / "broker-c1.jsa",
    ) as running:
        yield running


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHost]:
    from runs.rayhost import RayHost
    from tests.integration.lab import Lab

    with RayHost("", tmp_path_factory.mktemp("ray")) as host:
        Lab.host = host
        yield host


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"

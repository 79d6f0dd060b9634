"""Ray: started on loopback only, or joined where it runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from economy.errors import SetupError

_LONGEST_BASE: Final = 26  # characters of the folder in which Ray's lies


def ray_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for `start_ray`: Ray adds 63 characters for its sockets, whose whole path may have 103 (macOS)."""
    base = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(
        prefix="ray-", dir=base if len(base) <= _LONGEST_BASE else "/tmp", ignore_cleanup_errors=True
    )


def start_ray(address: str, folder: str, cpus: int = 2) -> None:
    """Start Ray on loopback only, or join the cluster at `address`.

    Without RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 Ray turns 127.0.0.1 into the host's address and listens on all
    interfaces. Raises SetupError when Ray does not start, or does not answer at `address`.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.environ["PYTHONPATH"] = root + os.pathsep + os.environ.get("PYTHONPATH", "")
    if address:
        _reach(address)
    import ray

    if ray.is_initialized():
        return
    with _own_handlers():
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start_node(folder, cpus)


def _start_node(folder: str, cpus: int) -> None:
    import ray

    for attempts_left in (1, 0):  # Ray gives its node 30 seconds, too few while a machine is overloaded
        try:
            ray.init(
                num_cpus=cpus,
                object_store_memory=80 << 20,  # nothing travels by the object store
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
            return
        except Exception as error:  # Ray raises nothing narrower
            ray.shutdown()
            if not attempts_left:
                why = str(error).partition("\n")[0]
                raise SetupError(
                    f"Ray did not start: {why}", "is the machine overloaded or short of memory?"
                ) from error


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the signals' handlers: Ray's own of SIGTERM ends the process at once, and leaves open what it was about."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody, Ray neither, may change them
            for number, handler in kept.items():
                signal.signal(number, handler)


def _reach(address: str) -> None:
    """Refuse a cluster that nothing answers for; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SetupError(
            f"no Ray cluster answers at {address}", "start it, or leave ray_address empty for one of our own"
        ) from error


def stop_ray() -> None:
    """End what `start_ray` started, or leave the cluster."""
    import ray

    ray.shutdown()

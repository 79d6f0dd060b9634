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

import psutil

from economy.errors import SetupError

VITAL: Final = ("gcs_server", "raylet")  # without its agents a raylet ends by itself; Ray's others nobody misses

AUTO: Final = "auto"  # Ray's word for the cluster that this machine is a node of
_LOOPBACK: Final = ("127.0.0.1", "localhost")
_NO_CLUSTER: Final = "start it, or leave ray_address empty for one of our own"
_LONGEST_BASE: Final = 26  # characters of the folder in which Ray's lies


def ray_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for `start_ray`: Ray adds 63 characters for its sockets, whose whole path may have 103 (macOS)."""
    base = tempfile.gettempdir()
    return tempfile.TemporaryDirectory(
        prefix="ray-", dir=base if len(base) <= _LONGEST_BASE else "/tmp", ignore_cleanup_errors=True
    )


def start_ray(address: str, folder: str, cpus: int = 2) -> None:
    """Start Ray on loopback only, or join the cluster at `address`: host:port, or "auto" on one of its nodes.

    Without RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 Ray turns 127.0.0.1 into the host's address and listens on all
    interfaces; with it, no other machine reaches what runs here. Raises SetupError when Ray does not start, does not
    answer at `address`, or refuses us.
    """
    if not address or _host(address) in _LOOPBACK:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    os.environ["RAY_DISABLE_IMPORT_WARNING"] = "1"
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.environ["PYTHONPATH"] = root + os.pathsep + os.environ.get("PYTHONPATH", "")
    if address and address != AUTO:
        _reach(address)
    import ray

    if ray.is_initialized():
        return
    with _own_handlers():
        if address:
            _join(address)
        else:
            _start_node(folder, cpus)


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ray.exceptions.AuthenticationError as error:
        raise SetupError(
            f"the Ray cluster at {address} refuses our token",
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the token that its nodes were started with",
        ) from error
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        ray.shutdown()
        why = str(error).partition("\n")[0].rstrip(".")
        raise SetupError(f"no Ray cluster takes us in at {address}: {why}", _NO_CLUSTER) from error


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


def _host(address: str) -> str:
    return address.removeprefix("ray://").rpartition(":")[0]


def _reach(address: str) -> None:
    """Refuse a cluster that nothing answers for; Ray itself would try for minutes."""
    try:
        socket.create_connection((_host(address), int(address.rpartition(":")[2])), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SetupError(f"no Ray cluster answers at {address}", _NO_CLUSTER) from error


def stop_ray() -> None:
    """End what `start_ray` started, or leave the cluster."""
    import ray

    ray.shutdown()


def ended(process: psutil.Process) -> bool:
    """True for a process that runs no more, a zombie included."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True

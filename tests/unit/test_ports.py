"""Ports for servers of our own: free, and none that an outgoing connection could take before, or between two starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from economy.errors import SetupError
from infra import broker
from infra.broker import free_port

LINUX = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_connections_are_given_others() -> None:
    lowest = int(LINUX.read_text().split()[0]) if LINUX.exists() else 49_152
    assert all(1024 <= free_port() < lowest for _ in range(50))


def test_a_taken_one_is_passed_over_and_the_want_of_any_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = int(other.getsockname()[1])
        monkeypatch.setattr(broker, "_PORTS", [taken] * 99 + [free])
        assert free_port() == free
        monkeypatch.setattr(broker, "_PORTS", [taken] * 100)
        with pytest.raises(SetupError, match="no TCP port is free"):
            free_port()

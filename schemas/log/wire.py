"""Kafka's requests over plain blocking sockets, for the few processes whose every epoch waits for the broker.

librdkafka and aiokafka hand each record or batch from thread to thread or from task to task; here the thread that needs
the answer reads it from the socket. Format: https://kafka.apache.org/protocol
"""

from __future__ import annotations

import io
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiokafka.protocol.metadata import MetadataRequest_v4

from economy.errors import SetupError
from schemas.log.refusal import denied, refusal
from schemas.log.requests import CLIENT, Place

CONNECT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 30.0  # without an answer the connection counts as dead
_SIZE: Final = struct.Struct(">i")  # of a message, and the number of its request behind that
_FIRST: Final = 1 << 16  # bytes that are read at once
MOST: Final = 128 << 20  # bytes of an answer: a fetch asks for 64 MiB, which one record of 32 MiB may exceed
# What other servers begin an answer with. A TLS record: alert or handshake, then version 3.
_OTHERS: Final = ((b"\x15\x03", "TLS"), (b"\x16\x03", "TLS"), (b"HTTP", "HTTP"))
_CLOSED: Final = "the broker closed the connection"
# Leaders that move, starting brokers, replicas that lag, timeouts: asking again, perhaps somebody else, helps.
RETRIABLE: Final = frozenset((3, 5, 6, 7, 8, 9, 13, 14, 15, 19, 20, 51, 56, 74, 75, 76, 78, 89))


class ForeignError(SetupError):
    """Whoever answers is no Kafka broker that speaks without TLS; asking again does not help."""


class Request(Protocol):
    """A request as bytes with its header, and its answer from bytes without."""

    def encode(self, number: int) -> bytes: ...

    def decode(self, body: bytes) -> Any: ...


@dataclass(frozen=True)
class Rare:
    """A request by one of aiokafka's structures, for what is asked once."""

    structure: Any

    def encode(self, number: int) -> bytes:
        """The bytes to send."""
        head = self.structure.build_request_header(number, CLIENT.decode()).encode()
        return bytes(head + self.structure.encode())

    def decode(self, body: bytes) -> Any:
        """aiokafka's structure of the answer."""
        return self.structure.RESPONSE_TYPE.decode(io.BytesIO(body))


class Connection:
    """One connection to a broker with at most one request on its way.

    Raises OSError when it is no longer usable, ForeignError for an answer that no broker gives.
    """

    def __init__(self, host: str, port: int) -> None:
        self._name = f"{host}:{port}"
        self._socket = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's timeouts: Python's would ask before each call whether the socket is ready.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(REQUEST_SECONDS), 0))
        self._socket.settimeout(None)
        self._number = 0
        self._asked: Request | None = None
        self._since = 0.0

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    @property
    def busy(self) -> bool:
        """Whether an answer is still to be read."""
        return self._asked is not None

    @property
    def overdue(self) -> bool:
        """Whether an answer takes longer than any should."""
        return self.busy and time.monotonic() - self._since > REQUEST_SECONDS

    def send(self, request: Request) -> None:
        """Send a request."""
        assert self._asked is None
        self._number += 1
        body = request.encode(self._number)
        self._asked, self._since = request, time.monotonic()
        self._socket.sendall(_SIZE.pack(len(body)) + body)

    def receive(self) -> Any:
        """Wait for the answer to the request on its way."""
        body = self._read()
        request, self._asked = self._asked, None
        assert request is not None
        (number,) = _SIZE.unpack_from(body)
        if number != self._number:
            raise self._foreign(body, f"request {self._number} is answered as {number}")
        try:
            return request.decode(body[_SIZE.size :])
        except (ValueError, LookupError, TypeError, OverflowError, MemoryError, struct.error) as error:
            raise self._foreign(body, f"an answer of {len(body)} bytes cannot be read ({error!r})") from error

    def ask(self, request: Request) -> Any:
        """Send and wait for the answer."""
        self.send(request)
        return self.receive()

    def _read(self) -> bytes:
        """The next message. Nothing follows it, as there is one request at a time: mostly one call reads it all."""
        data = self._more(_FIRST)
        while len(data) < _SIZE.size:
            data += self._more(_FIRST)
        (size,) = _SIZE.unpack_from(data)
        if not _SIZE.size <= size <= MOST or len(data) > _SIZE.size + size:
            raise self._foreign(data, f"an answer of {size} bytes is announced and {len(data) - _SIZE.size} are there")
        if len(data) == _SIZE.size + size:
            return data[_SIZE.size :]
        whole = bytearray(size)
        at = len(data) - _SIZE.size
        whole[:at] = data[_SIZE.size :]
        view = memoryview(whole)
        while at < size:
            got = self._socket.recv_into(view[at:])
            if not got:
                raise ConnectionError(_CLOSED)
            at += got
        return bytes(whole)

    def _foreign(self, data: bytes, what: str) -> ForeignError:
        spoken = next((name for begin, name in _OTHERS if data.startswith(begin)), None)
        if spoken is None:
            return ForeignError(f"what answers at {self._name} is no Kafka broker: {what}", "correct bootstrap")
        return ForeignError(
            f"what answers at {self._name} speaks {spoken}: {what}",
            "name the broker's plaintext listener in bootstrap",
        )

    def _more(self, size: int) -> bytes:
        data = self._socket.recv(size)
        if not data:
            raise ConnectionError(_CLOSED)
        return data

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Cluster:
    """The brokers that lead partitions, each with one connection. Not thread-safe.

    Whatever raises OSError leaves it to the caller to `forget` and ask again. RefusedError and ForeignError are final.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = [_address(entry) for entry in bootstrap.split(",")]
        self._leaders: dict[Place, int] = {}
        self._addresses: dict[int, tuple[str, int]] = {}
        self._connections: dict[int, Connection] = {}

    def by_leader(self, places: Iterable[Place]) -> dict[int, list[Place]]:
        """The partitions of each broker. Raises OSError when no broker answers or a partition has no leader now."""
        wanted = list(places)
        if not self._leaders.keys() >= set(wanted):
            self._learn({name for name, _ in wanted})
        found: dict[int, list[Place]] = {}
        for place in wanted:
            if place not in self._leaders:
                raise ConnectionError(f"partition {place[1]} of {place[0]} has no leader")
            found.setdefault(self._leaders[place], []).append(place)
        return found

    def connection(self, node: int) -> Connection:
        """The connection to a broker."""
        if node not in self._connections:
            self._connections[node] = Connection(*self._addresses[node])
        return self._connections[node]

    def forget(self) -> None:
        """Close everything and learn leaders anew: they may have moved, or the broker is another process now."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._leaders.clear()

    def ask_any(self, structure: Any) -> Any:
        """The answer to one of aiokafka's structures of whichever broker takes a connection."""
        failure: OSError = ConnectionError("no address of a broker is given")
        for address in [*self._bootstrap, *self._addresses.values()]:
            try:
                connection = Connection(*address)
            except OSError as error:
                failure = error
                continue
            try:
                return connection.ask(Rare(structure))
            finally:
                connection.close()
        raise failure

    def _learn(self, topics: set[str]) -> None:
        told = self.ask_any(MetadataRequest_v4(sorted(topics), False))
        self._addresses = {node: (host, port) for node, host, port, _ in told.brokers}
        for error, name, _, partitions in told.topics:
            if denied(error):
                raise refusal(f"topic {name}", error)
            for _, number, leader, _, _ in partitions:
                if leader in self._addresses:
                    self._leaders[name, number] = leader


def _address(entry: str) -> tuple[str, int]:
    host, _, port = entry.strip().rpartition(":")
    return host.strip("[]"), int(port)


def ready(connections: Sequence[Connection], timeout: float) -> list[Connection]:
    """Those with something to read, after at most `timeout` seconds. Raises OSError when an answer is overdue."""
    poller = select.poll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number in by_number:
        poller.register(number, select.POLLIN)
    found = [by_number[number] for number, _ in poller.poll(max(0, int(1000 * timeout)))]
    if not found and any(connection.overdue for connection in connections):
        raise TimeoutError("the broker does not answer")
    return found


class Backoff:
    """Pauses between attempts, doubled each time up to a limit."""

    def __init__(self) -> None:
        self._next = 0.02

    def pause(self, limit: float) -> None:
        """Sleep, not beyond `limit` on the monotonic clock."""
        time.sleep(max(0.0, min(self._next, limit - time.monotonic())))
        self._next = min(0.5, 2 * self._next)

    def reset(self) -> None:
        """Something went well."""
        self._next = 0.02

"""Places: how many connections and websockets a client may hold, and who makes place when all are taken.

A client is an address. It has as many connections as its share. When all places are taken, the connection that has
waited longest without a request in work makes place for a new one: whoever merely holds connections keeps nobody out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, Protocol

from economy.errors import InputError

HEAD_BYTES: Final = 64 << 10  # of one request
_SITE_BITS: Final = 64  # of an address of IPv6: whoever has one has all that begin with these
_LEAVING: Final = 64  # connections that were refused and are still to read why
_AGAIN: Final = 5  # seconds after which a client that was refused may try again


@dataclass(frozen=True)
class ConnectionLimits:
    """What clients may hold. Raises InputError for a proxy that is no address or network."""

    connections: int = 256  # of all clients
    per_address: int = 64
    websockets_per_address: int = 8
    request_seconds: float = 5.0  # for a head, then for a body, for a websocket's first message, and between requests
    answer_seconds: float = 30.0  # for taking an answer
    proxies: tuple[str, ...] = ()  # addresses or networks whose connections are those of many clients

    def __post_init__(self) -> None:
        for proxy in self.proxies:
            _network(proxy)


def _network(proxy: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(proxy)
    except ValueError as error:
        raise InputError("trust-proxy", proxy, "name an address or a network, as 10.0.0.5 or 10.0.0.0/8") from error


class Refusal(NamedTuple):
    """An answer of HTTP behind which the connection is closed."""

    status: int
    told: str
    again: int | None = None  # seconds

    @property
    def text(self) -> bytes:
        """The whole answer."""
        later = "" if self.again is None else f"Retry-After: {self.again}\r\n"
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(self.told)}\r\n{later}Connection: close\r\n\r\n"
        )
        return f"{head}{self.told}".encode("ascii")


_FULL: Final = Refusal(503, "all connections are taken: try again later", _AGAIN)
_MANY: Final = Refusal(429, "too many connections from this address: close some", _AGAIN)
_MANY_SOCKETS: Final = Refusal(429, "too many websockets from this address: subscribe to more over one", _AGAIN)
LATE: Final = Refusal(408, "the request did not come whole in time")
EARLY: Final = Refusal(400, "open a websocket over a connection that waits for no answer")
NO_WEBSOCKET: Final = Refusal(400, "open a websocket without a body and with fewer and shorter headers")
LARGE_HEAD: Final = Refusal(431, f"send at most {HEAD_BYTES} bytes of headers")


class Held(Protocol):
    """A connection that has a place."""

    def make_place(self) -> None:
        """End at once and give the place back, as another needs it."""


class Places:
    """Who holds what of a server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._proxies = [_network(proxy) for proxy in limits.proxies]
        self._held: Counter[str] = Counter()
        self._sockets: Counter[str] = Counter()
        self._leaving = 0
        self._idle: dict[Held, None] = {}  # without a request in work, the one that waits longest first

    def enter(self, host: str) -> Refusal | None:
        """Take a place for a connection from a host; why there is none."""
        if self._held[_site(host)] >= self.limits.per_address and not self._trusted(host):
            return _MANY
        if self._held.total() >= self.limits.connections:
            longest = next(iter(self._idle), None)
            if longest is None:
                return _FULL
            longest.make_place()
        self._held[_site(host)] += 1
        return None

    def leave(self, host: str) -> None:
        """Give a connection's place back."""
        _less(self._held, _site(host))

    def may_leave_slowly(self) -> bool:
        """Whether a connection that is refused may stay until its client has read why; `left` tells that it is gone."""
        if self._leaving >= _LEAVING:
            return False
        self._leaving += 1
        return True

    def left(self) -> None:
        """One that could leave slowly is gone."""
        self._leaving -= 1

    def idle(self, connection: Held) -> None:
        """It waits for a request from now on."""
        self._idle[connection] = None

    def busy(self, connection: Held) -> None:
        """It has a request in work, or is gone."""
        self._idle.pop(connection, None)

    def enter_socket(self, client: str) -> Refusal | None:
        """Take a place for a websocket of a client; why there is none."""
        if self._sockets[_site(client)] >= self.limits.websockets_per_address:
            return _MANY_SOCKETS
        self._sockets[_site(client)] += 1
        return None

    def leave_socket(self, client: str) -> None:
        """Give a websocket's place back."""
        _less(self._sockets, _site(client))

    def client(self, host: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Whose request comes from a host: of a trusted proxy, of the last address before it that is no such proxy.

        What stands further left was written by whoever asked, and is not believed.
        """
        if not self._trusted(host):
            return host
        told = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        hops = [hop.strip() for hop in ",".join(told).split(",") if hop.strip()]
        return next((hop for hop in reversed(hops) if not self._trusted(hop)), host)

    def _trusted(self, host: str) -> bool:
        if not self._proxies:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


def _less(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if counts[name] <= 0:
        del counts[name]


def _site(host: str) -> str:
    """What counts as one address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host  # a socket of the file system
    if not isinstance(address, IPv6Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped or ip_network((int(address), _SITE_BITS), strict=False))

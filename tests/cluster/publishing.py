"""A port of a container on an address of the machine, as Docker publishes it: a thread hands connections on."""

from __future__ import annotations

import socket
import socketserver
import threading
from typing import Final

Address = tuple[str, int]
_PIECE: Final = 1 << 16
_CONNECT_SECONDS: Final = 5.0


def publish(here: Address, there: Address) -> None:
    """Listen `here` for as long as this process lives; a connection is handed on to `there`, or closed."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                inner = socket.create_connection(there, _CONNECT_SECONDS)
            except OSError:
                return  # the container is away: its client sees a closed connection
            inner.settimeout(None)
            with inner:
                threading.Thread(target=_copy, args=(self.request, inner), daemon=True).start()
                _copy(inner, self.request)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    threading.Thread(target=Server(here, Handler).serve_forever, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # either side is gone, and the other is closed with it

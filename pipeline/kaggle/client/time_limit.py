"""Limits the total time of a request: a socket's own timeout is for each read, so that a drip of bytes never ends.

Knows urllib3's connections; must not know what is requested.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any


class TimeLimit:
    """The limit of the requests of a block: when the time is over, their connections are shut down."""

    def __init__(self) -> None:
        self.has_expired = False
        self._timer: threading.Timer | None = None
        self._connections: list[Any] = []
        self._sockets: list[socket.socket] = []

    def start(self, seconds: float) -> None:
        """Start to count, from 0 again if it was counting."""
        self.stop()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """End the limit: the request is complete, or its body is limited by its rate."""
        if self._timer is not None:
            self._timer.cancel()

    def connect(self, connection: Any, connect: Any) -> None:
        """Open a connection that can be shut down, also while it is being opened."""
        self._connections.append(connection)
        connect(connection)
        self._sockets.append(connection.sock)  # kept: the connection drops it when the server says "close"
        if self.has_expired:
            self._expire()

    def _expire(self) -> None:
        self.has_expired = True
        for one in [*self._sockets, *(connection.sock for connection in self._connections)]:
            if one is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # not SSLSocket's: a read may be under way


@contextlib.contextmanager
def limited() -> Iterator[TimeLimit]:
    """Yield the limit of all connections that are opened in the block; it counts once it is started."""
    from urllib3.connection import HTTPConnection, HTTPSConnection

    limit = TimeLimit()
    originals = {kind: kind.connect for kind in (HTTPConnection, HTTPSConnection)}

    def watched(original: Any) -> Any:
        return lambda connection: limit.connect(connection, original)

    for kind, original in originals.items():
        kind.connect = watched(original)  # type: ignore[method-assign]
    try:
        yield limit
    finally:
        limit.stop()
        for kind, original in originals.items():
            kind.connect = original  # type: ignore[method-assign]

"""What a stranger can make the server do: how much it reads, how often it answers, and whom it lets in."""

from __future__ import annotations

import hmac
import io
import ipaddress
import socket
import time
from typing import Any

MOST_BYTES = 16_384  # of one request, its body included; a browser's has some 900
SECONDS = 10.0  # in which a request must be here and its answer taken
MOST_CONNECTIONS = 64  # at a time; the oldest goes when another comes
MOST_ANSWERS, MOST_REFUSALS = 200.0, 50.0  # requests a second

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class TooLarge(Exception):
    """A request of more than `MOST_BYTES`."""


class BoundedReader(io.RawIOBase):
    """What a connection sends, up to a number of bytes.

    Args:
        connection: read from.
        most: bytes.
    """

    def __init__(self, connection: socket.socket, most: int = MOST_BYTES) -> None:
        self._connection, self._left = connection, most

    def readable(self) -> bool:
        """Yes: that is all that it does."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has come; `TooLarge` where that is more than is taken."""
        if self._left <= 0:
            raise TooLarge
        number = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= number
        return number


class Rate:
    """So many events a second, and as many at once.

    Args:
        a_second: events.
    """

    def __init__(self, a_second: float) -> None:
        self._a_second, self._left, self._then = a_second, a_second, time.monotonic()

    def allows(self) -> bool:
        """Whether one more event is allowed now; counts it."""
        now = time.monotonic()
        self._left = min(self._a_second, self._left + (now - self._then) * self._a_second)
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server of that host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_name(header: str, host: str) -> bool:
    """Whether a request's `Host` names this server; a page elsewhere can make a browser ask here by its own name.

    The port is not compared: what a tunnel forwards has another one.

    Args:
        header: such as `127.0.0.1:8080`.
        host: that the server was told to listen on.
    """
    name = _name(header)
    if name in _LOOPBACK:
        return True
    if is_loopback(host):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in (host.lower(), socket.gethostname().lower(), socket.getfqdn().lower())
    return True  # no name that somebody else could let point here


def _name(header: str) -> str:
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def same_secret(given: str, token: str) -> bool:
    """Whether both are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())

"""Connections to the page: few at a time, and each for a short time."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from prefrl_cli.label_page.limits import MOST_CONNECTIONS, SECONDS


class Connections(ThreadingMixIn, TCPServer):
    """A thread a connection; the oldest one is closed when there are too many, and each after some seconds.

    So slow or silent clients keep nobody out: a page's own requests are answered within milliseconds.

    Args:
        host, port: to listen on.
        handler: of one connection.
        tell: is given a line about what a handler did not expect.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = sys.platform != "win32"  # there it would let two programs listen at once
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, handler: type[BaseHTTPRequestHandler], tell: Callable[[str], None]
    ) -> None:
        self._open: dict[socket.socket, float] = {}  # and until when, the oldest first
        self._lock = threading.Lock()
        self._tell = tell
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection's thread."""
        with self._lock:
            if len(self._open) >= MOST_CONNECTIONS:
                self._end(next(iter(self._open)))
            self._open[request] = time.monotonic() + SECONDS
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection whose thread is done."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close what has taken too long; called twice a second."""
        now = time.monotonic()
        with self._lock:
            for one in [one for one, until in self._open.items() if until < now]:
                self._end(one)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what a handler did not expect; a client that left is nothing to tell of."""
        problem = sys.exception()
        if not isinstance(problem, OSError):
            self._tell(f"the label page: {type(problem).__name__}: {problem}")

    def _end(self, one: socket.socket) -> None:
        """Wake the thread of a connection: it reads an end, and closes."""
        del self._open[one]
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

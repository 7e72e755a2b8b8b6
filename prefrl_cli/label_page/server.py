"""The label page's server: a few requests of one person, answered by a thread beside training."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prefrl_cli.core.option_types import ConfigError, OptionError
from prefrl_cli.files.standard_streams import say
from prefrl_cli.label_page.address import Address, keep_address, kept_address, new_address
from prefrl_cli.label_page.handler import LabelConnections
from prefrl_cli.label_page.limits import is_loopback
from prefrl_cli.preference.database import AnswerDatabase

LOOPBACK = "127.0.0.1"
_WATCHED = 10.0  # seconds: an open page asks more often


class LabelServer:
    """Serves the page until it is closed.

    Args:
        database: of questions and answers.
        address: port and token; port 0 takes any that is free.
        host: to listen on.
        tell: is given a line about what goes wrong.

    Raises:
        OSError: where the port or the host cannot be had.
    """

    def __init__(
        self, database: AnswerDatabase, address: Address, host: str = LOOPBACK, tell: Callable[[str], None] = say
    ) -> None:
        self._connections = LabelConnections(database, address.token, host, address.port, tell)
        self.host, self.address = host, Address(self._connections.server_address[1], address.token)
        self._thread = threading.Thread(target=self._connections.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a person opens."""
        return self.address.url(LOOPBACK if self.host in ("0.0.0.0", "::") else self.host)

    def close(self, ended: str = "", *, linger: float = 4.0) -> None:
        """Stop.

        Args:
            ended: what an open page says of it, such as `Training has finished.`
            linger: most seconds to wait until an open page has heard it.
        """
        self._connections.ended = ended
        until = time.monotonic() + linger
        watched = time.monotonic() - self._connections.watched < _WATCHED
        while ended and watched and not self._connections.heard and time.monotonic() < until:
            time.sleep(0.02)
        self._connections.shutdown()
        self._connections.server_close()
        self._thread.join()


def serve(
    database: AnswerDatabase, path: Path, host: str = LOOPBACK, port: int = 0, typed: str = "teacher."
) -> LabelServer:
    """Serve the page, where it was before if it was.

    Args:
        database: of questions and answers.
        path: where port and token are kept, see `ADDRESS_FILE`.
        host: to listen on; only a loopback host keeps other machines out, others are warned of.
        port: to listen on; 0 for the one that there was before, or any that is free.
        typed: what a person types before `host=` and `port=`.

    Raises:
        ConfigError: where the port or the host cannot be had.
        OSError: where the address cannot be kept.
    """
    address = kept_address(path) or new_address()
    if port:
        address = Address(port, address.token)
    try:
        server = _serve(database, address, host, typed)
    except ConfigError:
        if port or not address.port:
            raise
        server = _serve(database, Address(0, address.token), host, typed)  # another program has the port by now
    keep_address(path, server.address)
    if not is_loopback(host):
        say(
            f"{typed}host={host}: every machine that reaches this one may open the page, and who reads along on the "
            "network sees its token and can answer in your place; only where you trust the network"
        )
    return server


def _serve(database: AnswerDatabase, address: Address, host: str, typed: str) -> LabelServer:
    try:
        return LabelServer(database, address, host)
    except socket.gaierror:
        reason = "is no address of this machine"
        raise ConfigError(str(OptionError(f"{typed}host", host, reason, LOOPBACK))) from None
    except OSError as problem:
        reason = f"cannot be had on {host} ({problem.strerror})"
        raise ConfigError(str(OptionError(f"{typed}port", address.port, reason, 0))) from None

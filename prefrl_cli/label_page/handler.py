"""One request: who is let in, and what the reply says."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from io import BufferedReader
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from prefrl_cli.label_page.connections import Connections
from prefrl_cli.label_page.limits import (
    MOST_ANSWERS,
    MOST_BYTES,
    MOST_REFUSALS,
    SECONDS,
    BoundedReader,
    Rate,
    TooLarge,
    is_own_name,
    same_secret,
)
from prefrl_cli.label_page.requests import Refused, reply
from prefrl_cli.preference.database import AnswerDatabase

_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}


class LabelConnections(Connections):
    """The connections of a label page, and what their requests share.

    Args:
        database: of questions and answers.
        token: that a request needs.
        host, port: to listen on.
        tell: is given a line about what goes wrong.

    Attributes:
        ended: what a page is told once training is over; empty until then.
        watched: when a page last asked how training goes, on the monotonic clock.
        heard: whether a page has been told `ended`.
    """

    def __init__(self, database: AnswerDatabase, token: str, host: str, port: int, tell: Callable[[str], None]) -> None:
        self.database, self.token, self.host = database, token, host
        self.ended, self.heard, self.watched = "", False, float("-inf")
        self.answers, self.refusals = Rate(MOST_ANSWERS), Rate(MOST_REFUSALS)
        super().__init__(host, port, _Handler, tell)


class _Handler(BaseHTTPRequestHandler):
    server: LabelConnections
    timeout = SECONDS
    command = requestline = ""  # until they are read

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = BufferedReader(BoundedReader(self.connection))

    def handle(self) -> None:
        """Answer one request; the connection ends with it."""
        try:
            self._handle()
        except TooLarge:
            self._refuse(Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request is too large."))
        except HTTPException:
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, "The request's head is malformed."))
        except OSError:
            pass  # it has left, or was too slow
        except Exception:
            self._refuse(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "The server has a fault; the terminal tells of it."))
            raise

    def _handle(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():  # which says itself what is wrong
            return
        try:
            self._let_in()
            path, query = self._address()
            self._check_token(query.pop("token", None))
            self._answer(path, query)
        except Refused as refused:
            self._refuse(refused)

    def _let_in(self) -> None:
        """Refuse what no page of ours sends: another host's name, another page's request, another protocol."""
        if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is needed.")
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or not is_own_name(hosts[0], self.server.host):
            raise Refused(HTTPStatus.FORBIDDEN, "This server has another name.")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if any(origin != f"http://{hosts[0]}" for origin in origins) or site not in ("same-origin", "none"):
            raise Refused(HTTPStatus.FORBIDDEN, "Another page may not ask here.")

    def _address(self) -> tuple[str, dict[str, str]]:
        try:
            parts = urlsplit(self.path)
            pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=10, errors="strict")
        except ValueError:
            parts, pairs = None, []
        if parts is None or parts.netloc or len(dict(pairs)) != len(pairs):
            raise Refused(HTTPStatus.BAD_REQUEST, "The address is malformed.")
        return parts.path, dict(pairs)

    def _check_token(self, token: str | None) -> None:
        if token is not None and same_secret(token, self.server.token):
            return
        if not self.server.refusals.allows():
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests without the right token.")
        if token is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "The address that prefrl has printed is needed, with its token.")
        raise Refused(HTTPStatus.FORBIDDEN, "The token is another run's; open the address that prefrl has printed.")

    def _answer(self, path: str, query: dict[str, str]) -> None:
        if not self.server.answers.allows():
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.")
        if path in _FILES and self.command == "GET":
            name, kind = _FILES[path]
            text = files("prefrl_cli.label_page").joinpath(name).read_text(encoding="utf-8")
            return self._send(HTTPStatus.OK, text.replace("{token}", self.server.token).encode(), kind)
        body = self._body()
        said = reply(self.server.database, self.command, path, query, body)
        if said is None:
            return self._send(HTTPStatus.NO_CONTENT)
        if path == "/api/progress":
            self.server.watched = time.monotonic()
            said = {**said, "ended": self.server.ended}
        self._send_json(HTTPStatus.OK, said)
        self.server.heard |= bool(said.get("ended"))

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", ["0"] if self.command == "GET" else [])
        if len(lengths) != 1 or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "One Content-Length is needed.")
        if not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 10):
            raise Refused(HTTPStatus.BAD_REQUEST, "The Content-Length is no number.")
        length = int(lengths[0])
        if length > MOST_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
        body = self.rfile.read(length)
        if len(body) != length:
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is shorter than its Content-Length.")
        return body

    def _refuse(self, refused: Refused) -> None:
        self._send_json(refused.status, {"error": refused.reason})
        # What it goes on sending is taken for a moment: else it hears of a broken connection, not of the reason.
        with contextlib.suppress(OSError):
            self.connection.settimeout(0.2)
            for _ in range(8):
                if not self.connection.recv(65_536):
                    break

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, json.dumps(value, allow_nan=False).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes = b"", kind: str = "") -> None:
        self.request_version = self.protocol_version  # else what is malformed is answered without a status
        with contextlib.suppress(OSError):  # it has left
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            if kind:
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what `parse_request` finds wrong, as we say everything."""
        self._refuse(Refused(HTTPStatus(code), message or HTTPStatus(code).phrase))

    def version_string(self) -> str:
        """The name in each reply, without versions."""
        return "prefrl"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the progress bar's."""

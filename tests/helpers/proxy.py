"""A proxy before a real server, which can be told at any time to refuse, stall, answer 500, cut or be slow.

It runs in threads of the test's process; what it stands before is asked by whatever process knows its `url`.
"""

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mode = Literal["pass", "refuse", "stall", "late", "swallow", "error", "error after", "cut after", "slow"]
# What a mode does with a request. The server carries it out (+) or never hears of it (-):
#   pass         + and its answer comes back
#   refuse       - the connection is reset before a word is read
#   stall        - nothing is answered until the mode changes, then the connection ends
#   late         + once the mode changes, long after the client has given up
#   swallow      + its answer never comes back
#   error        - 500
#   error after  + 500
#   cut after    + the connection is reset
#   slow         + after `delay` seconds, and its answer comes back
MODES: tuple[Mode, ...] = Mode.__args__  # type: ignore[attr-defined]
_ALONE = ("connection", "transfer-encoding", "content-length", "date", "server")  # headers of one connection


class Proxy:
    """Forwards to 127.0.0.1:`port`; `requests` counts what came since `plan` was called, from 1.

    Args:
        port: where the real server listens.
    """

    def __init__(self, port: int) -> None:
        self.requests = 0
        self.answered = 0  # requests with which it is done, one way or another
        self.delay = 0.0
        self.lines: list[str] = []  # `GET /path`, of what came since `plan`
        self._upstream = port
        self._mode: Mode = "pass"
        self._once: dict[int, Mode] = {}
        self._changed = threading.Condition()
        self._changes = 0
        self._server = _Listener(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def mode(self) -> Mode:
        """What happens to requests from now on; setting it lets go of those that are held."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        with self._changed:
            self._mode = mode
            self._changes += 1
            self._changed.notify_all()

    def plan(self, once: dict[int, Mode] | None = None) -> None:
        """Count from now, and treat the k-th request, for these k alone, by another mode."""
        with self._changed:
            self.requests, self.answered, self._once, self.lines = 0, 0, once or {}, []

    @contextlib.contextmanager
    def during(self, mode: Mode) -> Iterator[None]:
        """That mode inside a `with`, then `pass`."""
        self.mode = mode
        try:
            yield
        finally:
            self.mode = "pass"

    def close(self) -> None:
        """Let go of everything and listen no more."""
        self.mode = "refuse"
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def taken(self, line: str) -> Mode:
        """Count a request, and say how it is treated."""
        with self._changed:
            self.requests += 1
            self.lines.append(line)
            return self._once.get(self.requests, self._mode)

    def hold(self, seconds: float | None = None) -> None:
        """Return when the mode has changed, or after that time."""
        with self._changed:
            before = self._changes
            self._changed.wait_for(lambda: self._changes != before, seconds)

    def forwarded(self, method: str, path: str, headers: Any, body: bytes) -> http.client.HTTPResponse:
        """The server's answer, whole; the Host is its own."""
        to = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=120)
        kept = {name: value for name, value in headers.items() if name.lower() not in (*_ALONE, "host")}
        to.request(method, path, body or None, kept | {"Connection": "close"})
        return to.getresponse()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.proxy.mode == "refuse":
            _reset(request)
        else:
            super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone, or a server that is away: its connection ends, and nothing is printed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _treat(self) -> None:
        try:
            self._treated(self.server.proxy)
        finally:
            self.server.proxy.answered += 1

    def _treated(self, proxy: Proxy) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mode = proxy.taken(f"{self.command} {self.path}")
        if mode in ("stall", "late"):
            proxy.hold()
        if mode == "slow":
            proxy.hold(proxy.delay)
        if mode in ("refuse", "stall", "error"):
            content, status, headers = b"", 500, {}
        else:
            answer = proxy.forwarded(self.command, self.path, self.headers, body)
            content, status, headers = answer.read(), answer.status, dict(answer.getheaders())
        if mode == "swallow":
            proxy.hold()
        if mode in ("refuse", "stall", "late", "swallow", "cut after"):
            self.close_connection = True
            _reset(self.connection)
        else:
            failed = mode in ("error", "error after")
            self._answer(b"broken by the test" if failed else content, 500 if failed else status, headers)

    def _answer(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _ALONE:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _treat


def _reset(connection: socket.socket) -> None:
    """End a connection with a reset, as a machine that goes down does."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

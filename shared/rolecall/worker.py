"""Gunicorn's threaded worker, changed so that slow clients hold no threads and a stopping worker refuses connections.

It serves plain HTTP/1.1; TLS ends at the proxy.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from gunicorn.workers.gthread import ThreadWorker

from rolecall import periodic
from rolecall.web.app import Application
from rolecall.web.bodies import MAX_REQUEST_BODY
from rolecall.web.headers import SECURITY_HEADERS

MAX_WAITING_HEAD: Final = 8192
"""Bytes of an incomplete head (request line and header) that are kept until the rest arrives."""

LINGER: Final = 2.0
"""Seconds in which a client can still read the last response before its connection is closed (RFC 9112 section 9.6)."""

_RECEIVE: Final = MAX_WAITING_HEAD + MAX_REQUEST_BODY

_MAX_CHUNKS: Final = 128
"""Maximum number of chunks of an incomplete body that are examined each time another part arrives."""

_WELL_FORMED: Final = re.compile(rb"(?:\r\n)?(?:[^\r\n]* HTTP/1\.[01]\r\n(?:[^\r\n]+\r\n)*)?[^\r\n]*\r?")
"""The beginning of a head that is well-formed so far."""

_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,5})\r\n")
_BEGINNING_OF_CHUNK: Final = re.compile(rb"[0-9A-Fa-f]{0,5}\r?")

_TARGET: Final = re.compile(rb"(?:\r\n)?[!-~]+ ([!-~]+) ")
"""The target in the request line."""

_FRAMING: Final = re.compile(rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r]*)", re.IGNORECASE)


class Progress(Enum):
    """How much of a request has arrived."""

    PARTIAL = auto()
    COMPLETE = auto()
    UNKNOWN = auto()
    """Only the parser can find its end: it is malformed, long, in many chunks, or expects 100 (Continue)."""
    CLOSED = auto()


def progress(data: bytes) -> Progress:
    """Return how much of a request `data` contains."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        is_short = len(data) <= MAX_WAITING_HEAD
        return Progress.PARTIAL if is_short and _WELL_FORMED.fullmatch(data) else Progress.UNKNOWN
    match _FRAMING.findall(data, 0, end):
        case []:
            return Progress.COMPLETE
        case [(name, value)] if name.lower() == b"content-length" and value.isdigit() and len(value) < 10:
            if int(value) <= MAX_REQUEST_BODY:
                return Progress.COMPLETE if len(data) >= end + 4 + int(value) else Progress.PARTIAL
        case [(name, value)] if name.lower() == b"transfer-encoding" and value.strip().lower() == b"chunked":
            return _progress_of_chunks(data, end + 4)
    return Progress.UNKNOWN


def _progress_of_chunks(data: bytes, position: int) -> Progress:
    """Return how much of a chunked body (RFC 9112 section 7.1) `data` contains from `position` on.

    Bodies beyond the limit, with chunk extensions, or with trailers are left to the parser.
    """
    total = 0
    for _ in range(_MAX_CHUNKS):
        line = _CHUNK.match(data, position)
        if line is None:
            return Progress.PARTIAL if _BEGINNING_OF_CHUNK.fullmatch(data, position) else Progress.UNKNOWN
        size = int(line[1], 16)
        total += size
        position = line.end() + size
        ending = data[position : position + 2]
        if total > MAX_REQUEST_BODY or not b"\r\n".startswith(ending):
            return Progress.UNKNOWN
        if len(ending) < 2:
            return Progress.PARTIAL
        if size == 0:
            return Progress.COMPLETE
        position += 2
    return Progress.UNKNOWN


class Worker(ThreadWorker):
    """A worker that gives a connection to a thread when all of a request has arrived.

    The main loop receives the requests. It closes a connection whose request is not complete within `request_deadline`
    seconds and, if there are too many connections, the oldest waiting one. Requests of which only the parser finds the
    end get at most half of the threads, and the same deadline.

    When it begins to stop, it closes its listeners, instead of after the last running request. Until it closes them,
    the kernel keeps accepting connections that are never served. A proxy must not repeat a POST that it has sent on
    such a connection, but it may send one to another replica if the connection was refused.
    """

    sockets: list[Any]
    pending_conns: deque[Any]
    request_deadline: float = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: deque[Any] = deque()  # requests of unknown length, waiting for one of the threads for those
        self._closing: deque[Any] = deque()
        self._reading: dict[Any, float] = {}  # requests of unknown length, in a thread; until when they may receive
        self._thread = threading.local()

    def enqueue_req(self, conn: Any) -> None:
        """Serve a connection that is new, has become readable, or has the next request in its buffer."""
        state = _receive(conn)
        if state in {Progress.COMPLETE, Progress.UNKNOWN}:
            self._serve(conn, state)
        else:
            self._wait(conn, self.pending_conns, self.request_deadline, self.on_pending_socket_readable)

    def on_pending_socket_readable(self, conn: Any, client: Any) -> None:
        """Receive more of a request; gunicorn's method would give the connection to a thread."""
        state = _receive(conn)
        if state is Progress.PARTIAL:
            return
        self.pending_conns.remove(conn)
        if state is Progress.CLOSED:
            self._close(conn)
        else:
            self.poller.unregister(client)
            self._serve(conn, state)

    def handle(self, conn: Any) -> Any:
        """Serve a request, and keep the beginning of it for `handle_error`."""
        self._thread.received = conn.parser.unreader.buf.getvalue()
        return super().handle(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Add the headers of all responses to the error responses that gunicorn writes itself."""
        path = _path(self._thread.received)
        headers = dict(SECURITY_HEADERS)
        for app in periodic.applications(self.wsgi):
            headers |= app.cross_origin_headers(path) if isinstance(app, Application) else {}
        super().handle_error(req, _WithHeaders(client, headers), addr, exc)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Keep or close the connection after a response; gunicorn's method would wait for the client to close it."""
        if self._reading.pop(conn, None) is not None and self._held:
            self._serve(self._held.popleft(), Progress.UNKNOWN)
        if fs.cancelled() or fs.exception() is not None or fs.result():
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
        else:
            self._wait(conn, self._closing, LINGER, self._drain)

    def murder_pending(self) -> None:
        """Close connections whose time is over, and the oldest ones if there are too many.

        gunicorn calls this after each batch of events, none of which may belong to a closed connection.
        """
        super().murder_pending()
        now = time.monotonic()
        for waiting in (self._held, self._closing):
            while waiting and waiting[0].timeout <= now:
                self._close(waiting.popleft())
        for conn, until in self._reading.items():
            if until <= now:
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RDWR)  # its thread reads the end of the connection
        while self.nr_conns >= self.worker_connections:
            longest = max((self.pending_conns, self.keepalived_conns, self._held, self._closing), key=len)
            if not longest:
                break
            self._close(longest.popleft())

    def set_accept_enabled(self, enabled: bool) -> None:
        """Enable or disable accepting; gunicorn disables it when the worker stops or has its maximum of connections."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            before = -1
            while before != self.nr_conns:  # accept the connections that are already waiting
                before = self.nr_conns
                self.accept(listener)
            listener.close()
        self.sockets = []  # a second call must not use closed listeners

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections soon when the worker stops, those without a first request as well."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            if not conn.parser.unreader.buf.tell():
                conn.timeout = min(conn.timeout, deadline)
        self.pending_conns = deque(sorted(self.pending_conns, key=lambda conn: conn.timeout))

    def _serve(self, conn: Any, state: Progress) -> None:
        if state is Progress.UNKNOWN:
            until = time.monotonic() + self.request_deadline
            if len(self._reading) >= max(1, self.cfg.threads // 2):
                conn.timeout = until
                self._held.append(conn)
                return
            self._reading[conn] = until
        super().enqueue_req(conn)

    def _wait(self, conn: Any, waiting: deque[Any], seconds: float, readable: Any) -> None:
        conn.timeout = time.monotonic() + seconds
        waiting.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(readable, conn))

    def _drain(self, conn: Any, client: Any) -> None:
        """Discard what a client sends after its last response, until it closes the connection."""
        try:
            if client.recv(_RECEIVE, socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._closing.remove(conn)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def _path(received: bytes) -> str:
    """Return the path of a request, which may be malformed; an empty string if it has none."""
    match = _TARGET.match(received)
    try:
        return unquote(urlsplit(match[1].decode()).path) if match else ""
    except ValueError:
        return ""


class _WithHeaders:
    """A socket that adds headers to the response that is written to it."""

    def __init__(self, sock: socket.socket, headers: Mapping[str, str]) -> None:
        self._sock = sock
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        line, end, rest = data.partition(b"\r\n")
        self._sock.sendall(line + end + self._headers + rest)


def _receive(conn: Any) -> Progress:
    """Receive what has arrived, into the buffer of the connection's parser."""
    conn.init()
    conn.data_ready = True  # otherwise, the thread would wait for data
    buffer = conn.parser.unreader.buf
    received = None
    try:
        received = conn.sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass
    except OSError:
        return Progress.CLOSED
    if received:
        buffer.seek(0, 2)
        buffer.write(received)
    state = progress(buffer.getvalue())
    return Progress.CLOSED if received == b"" and state is Progress.PARTIAL else state

"""A raw connection to a service, which sends bytes that an HTTP client would refuse to send."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import Final

from support.fuzz.request import Request

TIMEOUT: Final = 32.0
"""Seconds to wait for a response."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def closes(self) -> bool:
        return dict(self.headers).get("connection", "").lower() == "close"


class Connection:
    """One connection, kept open for as long as the server keeps it open."""

    def __init__(self, url: str) -> None:
        self._address = "127.0.0.1", int(url.rpartition(":")[2])
        self._socket: socket.socket | None = None
        self._rest = b""

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def exchange(self, request: Request, data: bytes) -> tuple[list[Response], float, bytes]:
        """Send a request.

        Returns:
            The responses, the seconds until the last one was complete, and the bytes received after it.

        Raises:
            TimeoutError: a response did not arrive within `TIMEOUT`.
        """
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(data)
            if request.ends:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server stopped reading, and may have responded
        began = time.monotonic()
        seconds = 0.0
        responses: list[Response] = []
        try:
            while True:
                response = self._receive(request.method == b"HEAD")
                if response is None:
                    break
                if response.status >= 200:
                    responses.append(response)
                    seconds = time.monotonic() - began
                    if not request.ends:
                        break
        except TimeoutError:
            raise
        except OSError:
            self.close()
        seconds = seconds if responses else time.monotonic() - began
        rest = self._rest
        if request.ends or request.broken or not responses or responses[-1].closes or rest:
            self.close()
        return responses, seconds, rest

    def _receive(self, head: bool) -> Response | None:
        while b"\r\n\r\n" not in self._rest:
            if not self._more():
                return None
        top, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        if not re.fullmatch(r"HTTP/1\.[01] \d{3} .*", first):
            raise ConnectionError(first)
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        status, by_name = int(first[9:12]), dict(headers)
        if head or status in {204, 304} or status < 200:
            return Response(status, headers, b"")
        if "content-length" in by_name:
            length = int(by_name["content-length"])
            while len(self._rest) < length:
                if not self._more():
                    raise ConnectionError("the body is cut off")
            body, self._rest = self._rest[:length], self._rest[length:]
        else:
            while self._more():
                pass
            body, self._rest = self._rest, b""
        return Response(status, headers, body)

    def _more(self) -> bool:
        assert self._socket is not None
        data = self._socket.recv(65536)
        self._rest += data
        return bool(data)

"""The HTTP client of all services, with timeouts, connection reuse, trace context, and notes for a watcher."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from rolecall import clock, events, trace
from rolecall.vocabulary import METADATA_PATH, OPENID_CONFIGURATION_PATH

MAX_BODY = 1 << 20
"""The maximum size of a response body in bytes."""


def metadata_url(issuer: str, back_channel: str | None = None) -> str:
    """Return the URL of an issuer's metadata, with the well-known part between host and path (RFC 8414 section 3.1).

    Args:
        back_channel: the URL at which this service reaches the issuer, if it differs from the issuer.
    """
    return f"{_root(issuer, back_channel)}{METADATA_PATH}{urlsplit(issuer).path.rstrip('/')}"


def openid_configuration_url(issuer: str, back_channel: str | None = None) -> str:
    """Return the URL of an issuer's OpenID configuration: after its path (OpenID Connect Discovery section 4)."""
    return f"{_root(issuer, back_channel)}{urlsplit(issuer).path.rstrip('/')}{OPENID_CONFIGURATION_PATH}"


def _root(issuer: str, back_channel: str | None) -> str:
    """Return the URL of the issuer's host; a back-channel URL may contain the issuer's path or not."""
    return (back_channel or issuer).rstrip("/").removesuffix(urlsplit(issuer).path.rstrip("/"))


class Unreachable(Exception):
    """The server did not respond in time, or its response was invalid or too large."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} is unavailable: {reason}")
        self.url = url
        self.reason = reason


class InvalidResponse(Unreachable):
    """The server responded, but its response cannot be used; `reason` says why."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response; header names are in lower case, and `milliseconds` is the time since the request was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    milliseconds: float

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object (RFC 8259), whose strings can all be encoded as UTF-8.

        A null member counts as omitted.

        Raises:
            ValueError: the body is not such an object, or it is nested too deeply.
        """
        try:
            value = json.loads(self.body.decode("utf-8-sig"))
            if b"\\u" in self.body:  # an escape sequence can stand for a lone surrogate (RFC 8259 section 8.2)
                json.dumps(value, ensure_ascii=False).encode()
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        return {name: member for name, member in value.items() if member is not None}


@cache
def trust(ca_file: str | None = None) -> ssl.SSLContext:
    """Return the SSL context that verifies servers, loaded once per process.

    Args:
        ca_file: a file with certificate authorities to trust in addition to the system's.
    """
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class HttpClient:
    """An HTTP client that keeps connections open; thread-safe, created once per process.

    Args:
        connect: seconds to wait for a connection.
        read: seconds to wait for a response.
        ca_file: a file with certificate authorities to trust in addition to the system's.
    """

    def __init__(self, *, connect: float = 1.0, read: float = 5.0, ca_file: str | None = None) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=16,
            timeout=urllib3.Timeout(connect=connect, read=read),
            retries=False,
            ssl_context=trust(ca_file),
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpResponse:
        """Send a request and return the response, whatever its status; redirects are not followed.

        Raises:
            Unreachable: the server did not respond, or the body was longer than `MAX_BODY`.
        """
        outgoing = {"Accept": "application/json", "traceparent": trace.outgoing(), **(headers or {})}
        if form is not None:
            body = urlencode(form).encode()
            outgoing["Content-Type"] = "application/x-www-form-urlencoded"
        started = clock.monotonic()
        message: dict[str, Any] = {"method": method, "url": url, "headers": outgoing, "body": body}
        try:
            response = self._send(method, url, outgoing, body, started)
        except Unreachable as error:
            events.sent({**message, "response": None, "failure": error.reason})
            raise
        events.sent({**message, "response": response, "failure": None})
        return response

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, started: float
    ) -> HttpResponse:
        try:
            response = self._request(method, url, headers, body)
            try:
                content = response.read(MAX_BODY + 1, decode_content=True)
                if len(content) > MAX_BODY:
                    response.close()
                    raise Unreachable(url, "the response is too large")
                response.drain_conn()
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(url, _reason(error)) from error
        except ValueError as error:  # from http.client, for a header with a line feed or a character outside Latin-1
            raise Unreachable(url, "the request contains characters that cannot be sent") from error
        return HttpResponse(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            content,
            (clock.monotonic() - started) * 1000,
        )

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(method, url, headers=headers, body=body, redirect=False, preload_content=False)
        except urllib3.exceptions.ProtocolError:
            if method != "GET":
                raise
            # the server has closed a reused connection; a GET may be repeated (RFC 9110 section 9.2.2)
            return self._pool.request(method, url, headers=headers, body=body, redirect=False, preload_content=False)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # a subclass of TimeoutError in urllib3
        return "the connection failed"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the request timed out"
    return type(error).__name__

"""Request bodies: received as a whole, or rejected, before an application reads them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_REQUEST_BODY: Final = 64 * 1024
"""Bytes; no request to these services needs a longer body."""

REJECTED: Final = "rolecall.rejected_body"
"""The member of the WSGI environment that has the status of the error response if the body is rejected."""


def receive_body(environ: WSGIEnvironment, limit: int) -> None:
    """Receive the body, whether it has a `Content-Length` or is chunked, and replace the stream with all of it.

    If it is rejected, the application gets an empty body and `environ[REJECTED]`: 400 if the body is incomplete or
    malformed (RFC 9112 section 8), 413 if it is longer than `limit` bytes (RFC 9110 section 15.5.14), and 501 for a
    transfer coding other than chunked (RFC 9112 section 6.1).
    """
    coding, length = environ.pop("HTTP_TRANSFER_ENCODING", None), environ.get("CONTENT_LENGTH")
    if coding is None and not length:
        return
    body = b""
    if coding is not None and length:
        status = 400  # the sender or a proxy may rely on either of them (RFC 9112 section 6.3)
    elif coding is not None and (coding.strip().lower() != "chunked" or not environ.get("wsgi.input_terminated")):
        status = 501
    else:
        status, body = _read(environ["wsgi.input"], length, limit)
    if status:
        environ[REJECTED] = status
    environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def _read(stream: Any, length: str | None, limit: int) -> tuple[int, bytes]:
    if length and not (length.isascii() and length.isdigit()):
        return 400, b""
    expected = int(length[:20]) if length else None
    if expected is not None and expected > limit:
        return 413, b""
    try:
        body = stream.read(limit + 1 if expected is None else expected)
    except Exception:  # each server has its own exceptions for chunks that it cannot parse
        return 400, b""
    if expected is not None and len(body) < expected:
        return 400, b""
    return (413, b"") if len(body) > limit else (0, body)

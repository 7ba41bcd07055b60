"""Checks of every response to the hostile corpus."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from typing import Final

from support.fuzz.connection import Response
from support.fuzz.request import EVIL, INJECTED, MARK, Request
from support.stack import Stack

_LINK_ELSEWHERE: Final = re.compile(
    rb"\s(?:href|action|src)=\"?(?://|https?://(?!127\.0\.0\.1|(?:[a-z]+\.)?localhost[:/]))"
)
"""A link that is not a path or an address of this machine."""

_REPORTED: Final = (
    b"The authorization server returned an error",
    b"This is not the expected authorization server",
    b'<span class="tag no">',
)
"""On Tally's pages about a response that it could not use: an error, another `iss`, or a refusal by the API."""


class ResponseChecks:
    """The checks of the responses to one request.

    Args:
        began: seconds; when the attack began, for which Redis was started.
        slow: seconds after which a response is too late.
    """

    def __init__(self, stack: Stack, began: float, slow: float) -> None:
        urls = (stack.auth, stack.client, stack.api)
        self._origins = {origin(url) for url in urls} | {"http://127.0.0.1:9", "http://localhost:9000"}
        self._began = began
        self._slow = slow

    def is_late(self, responses: list[Response], seconds: float) -> bool:
        return seconds > self._slow * max(1, len(responses))

    def faults(
        self, service: str, request: Request, responses: list[Response], seconds: float, rest: bytes
    ) -> list[str]:
        """Return the faults of the responses, and of the bytes after them."""
        faults = []
        if self.is_late(responses, seconds):
            faults.append("too slow")
        if not responses and not request.broken and not request.ends:
            faults.append("no response")
        if rest and not request.broken:
            faults.append("bytes after the response")
        if len(responses) > request.copies and not request.broken:
            faults.append("more responses than requests")
        for response in responses:
            faults += self._response_faults(service, request, response)
        return faults

    def _response_faults(self, service: str, request: Request, response: Response) -> list[str]:
        faults = []
        if request.only and response.status not in request.only:
            faults.append(f"status {response.status} for a request that is too large")
        if response.status >= 500 and not self._is_expected_error(service, request, response):
            faults.append(f"status {response.status}")
        top = "\n".join(f"{name}: {value}" for name, value in response.headers)
        # a registration response repeats the client's name, as JSON
        is_json = dict(response.headers).get("content-type") == "application/json"
        if (b"<fuzz" in response.body and not is_json) or "<fuzz" in top:
            faults.append("reflected without escaping")
        if any(name == INJECTED.lower() for name, _ in response.headers):
            faults.append("a header was smuggled in")
        if b"Traceback" in response.body or b'File "/' in response.body:
            faults.append("shows a traceback")
        for name, value in response.headers:
            if name == "location" and not self._may_redirect_to(value):
                faults.append(f"redirects to {value[:100]}")
        if _LINK_ELSEWHERE.search(response.body):
            faults.append("links to another host")
        if "host" in request.twists and len(request.twists) == 1 and EVIL.encode() in response.body:
            faults.append("trusts a forged host")
        return faults

    def _may_redirect_to(self, location: str) -> bool:
        if re.match(r"/(?![/\\])", location):
            return True
        return origin(location) in self._origins and MARK not in location

    def _is_expected_error(self, service: str, request: Request, response: Response) -> bool:
        """Return whether a status of 500 or more is the right response to this request."""
        if response.status == 501:
            return b"ransfer-" in (request.framing or b"")  # RFC 9112 section 6.1
        if response.status == 505:
            return request.version == b"HTTP/2.0"  # nginx; RFC 9110 section 15.6.6
        if response.status == 503:
            if b"record of used identifiers may have been lost" in response.body:
                return not _is_issued_since(self._began, request)
            return b"Too many people are signing in" in response.body
        # Tally reports the refusal of another service with 502
        return (
            service == "client-webapp"
            and response.status == 502
            and (any(each in response.body for each in _REPORTED) or request.method == b"HEAD")
        )


def origin(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.netloc}"


def _is_issued_since(began: float, request: Request) -> bool:
    """Return whether the client assertion in a request was issued after `began`, according to its `iat`."""
    assertion = dict(request.pairs).get(b"client_assertion", b"").split(b".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(assertion[1] + b"=="))
        return any(float(claims[name]) >= began for name in ("iat", "nbf") if name in claims)
    except (ValueError, TypeError, LookupError):
        return False

"""Requests from pages of other origins (CORS, section 3.3 of the Fetch standard): always without credentials.

The routes that serve them do not read cookies, so an origin learns nothing there that a program could not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from werkzeug.routing import Map, Rule

from rolecall.web.routes import Route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Headers = list[tuple[str, str]]

_HEADERS: Final[Headers] = [
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After, X-Request-Id, DPoP-Nonce"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
]

_PREFLIGHT: Final[Headers] = [
    # the wildcard would not include Authorization
    ("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP"),
    # the longest time that Chromium accepts
    ("Access-Control-Max-Age", "7200"),
]

_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_ORIGIN: Final = re.compile(rf"https?://({_HOST.pattern})(?::[0-9]{{1,5}})?")


class Origins:
    """The origins that a setting lists: origins (`https://app.example`), hosts (`localhost`, `*.test`), or `*` for all.

    A host stands for every scheme and port. An origin has the form of an `Origin` header, without a default port.
    """

    def __init__(self, text: str) -> None:
        """Parse a list of origins and hosts, separated by commas or spaces."""
        self._text = text
        self._parts = frozenset(text.lower().replace(",", " ").split())
        for part in self._parts:
            if part != "*" and not _HOST.fullmatch(part) and not ("*" not in part and _ORIGIN.fullmatch(part)):
                raise ValueError(f"{part} must be *, an origin such as https://app.example, or a host such as *.test")

    def __str__(self) -> str:
        return self._text

    @property
    def is_any(self) -> bool:
        """Whether all origins are listed."""
        return "*" in self._parts

    def __contains__(self, origin: str) -> bool:
        """Return whether the value of an `Origin` header is listed; `null` is not, except by `*`."""
        if self.is_any or origin in self._parts:
            return True
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return False
        labels = match[1].split(".")
        parents = {f"*.{'.'.join(labels[number:])}" for number in range(1, len(labels))}
        return not self._parts.isdisjoint({match[1], *parents})


ANY: Final = Origins("*")


class CrossOrigin:
    """The policy of an application's routes, by path, for every response to a request of such a path.

    It is applied outside of the application, so that errors which no view returns have the headers as well.
    """

    def __init__(self, routes: Iterable[Route], settings: object) -> None:
        """Store the routes that pages of other origins can use, and the origins that the settings list for them."""
        served = [route for route in routes if route.cors is not None]
        self._origins = {
            route.name: ANY if route.cors == "any" else getattr(settings, str(route.cors)) for route in served
        }
        rules = [Rule(route.path, endpoint=route.name, methods=route.methods) for route in served]
        self._urls = Map(rules, merge_slashes=False).bind("")
        self._constant = {route.path: self._origins[route.name] for route in served if "<" not in route.path}
        self._beginnings = tuple(route.path.partition("<")[0] for route in served if "<" in route.path)

    def headers(self, path: str, origin: str | None) -> Headers:
        """Return the headers of a response; none if the path or the origin is not allowed.

        Args:
            path: the path below that of the service.
            origin: the `Origin` header; None if the request has none, or has not been read.
        """
        origins = self._constant.get(path)
        if origins is None:
            methods = [*self._urls.allowed_methods(path)] if path.startswith(self._beginnings) else []
            if not methods:
                return []
            origins = self._origins[self._urls.match(path, methods[0])[0]]
        if origins.is_any:
            return _HEADERS
        return [*_HEADERS, ("Vary", "Origin")] if origin is not None and origin in origins else []

    def wrap(self, environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
        """Return a `start_response` that adds the headers to the response to this request."""
        added = self.headers(environ.get("PATH_INFO", ""), environ.get("HTTP_ORIGIN"))
        if not added:
            return start_response
        replaced = {name for name, _ in added} - {"Vary"}  # a response may have several of these

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            kept = [header for header in headers if header[0] not in replaced]
            return start_response(status, kept + added, exc_info)

        return start

    def preflight(self, environ: WSGIEnvironment) -> Headers:
        """Return the headers of the response to a preflight request; none if the request is not one that is served."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return []
        path = environ.get("PATH_INFO", "")
        if not self.headers(path, environ.get("HTTP_ORIGIN")):
            return []
        return [("Access-Control-Allow-Methods", ", ".join(sorted(self._urls.allowed_methods(path)))), *_PREFLIGHT]

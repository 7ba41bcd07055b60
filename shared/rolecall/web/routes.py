"""The table of routes and its registration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue

from rolecall.clock import current_object
from rolecall.web.forms import FormProtection

_PURPOSES: Final = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ")

Kind = Literal["page", "api"]


@dataclass(frozen=True, slots=True)
class Route:
    """A row in a service's table of routes.

    Args:
        name: the Flask endpoint.
        kind: `page` for routes that people open in a browser, `api` for routes that programs call.
        clause: the section of the specification that the route implements.
        metadata: the member of the server metadata that holds the route's URL, if any.
        csrf: whether a POST requires the CSRF token; applies to pages only.
        cross_site: whether pages of other sites may send a POST; always allowed for `api`.
        in_popups: whether a client may open the page in a popup window, which the client's own page keeps watching.
        safe: whether a GET changes nothing (RFC 9110 section 9.2.1).
        cors: the origins whose pages may read responses: `any`, or the name of the setting that lists them.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    view: Callable[..., ResponseReturnValue]
    kind: Kind
    clause: str
    metadata: str | None = None
    csrf: bool = True
    cross_site: bool = False
    in_popups: bool = False
    safe: bool = True
    cors: str | None = None


def register(app: Flask, routes: Sequence[Route]) -> None:
    """Add the routes to the application, with CSRF protection for every POST of a page unless its row disables it."""
    app.extensions["rolecall_routes"] = tuple(routes)
    app.extensions["rolecall_rows"].update({route.name: route for route in routes})
    csrf = FormProtection(app) if any(route.kind == "page" and "POST" in route.methods for route in routes) else None
    for route in routes:
        app.add_url_rule(route.path, route.name, route.view, methods=list(route.methods))
        app.extensions["rolecall_kinds"][route.name] = route.kind
        if route.kind == "api" or route.cross_site:
            app.extensions["rolecall_cross_site"].add(route.name)
        if csrf is not None and (route.kind == "api" or not route.csrf):
            csrf.exempt(route.view)


def route_path(name: str) -> str:
    """Return the path of a route of the current application, relative to the path of the service.

    Raises:
        StopIteration: the application has no such route.
    """
    routes: tuple[Route, ...] = current_app.extensions["rolecall_routes"]
    return next(route.path for route in routes if route.name == name)


def current_route() -> Route | None:
    """Return the row of the requested URL; None if the URL has none, such as that of a static file."""
    rows: dict[str | None, Route] = current_object(current_app).extensions["rolecall_rows"]
    return rows.get(request.endpoint)


def current_kind() -> Kind | None:
    """Return the kind of the requested route; None if no registered route matches the request."""
    kinds: dict[str | None, Kind] = current_object(current_app).extensions["rolecall_kinds"]
    return kinds.get(request.endpoint)


def allowed_methods() -> set[str]:
    """Return the methods that the requested URL supports; empty if no route matches the request."""
    return (request.url_rule.methods if request.url_rule else None) or set()


def is_speculative() -> bool:
    """Return whether a browser fetches a page that the user has not asked for yet: a prefetch or a prerender."""
    environ = request.environ
    return any("prefetch" in environ.get(name, "").lower() for name in _PURPOSES)


def is_from_another_origin() -> bool:
    """Return whether a browser sent the request on behalf of a page of another origin (Fetch Metadata section 2.3).

    Programs do not send `Sec-Fetch-Site`. Its value `none` stands for the user, for example for a bookmark.
    """
    return request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}


def is_foreign_form() -> bool:
    """Return whether a page of another origin sent a form (a POST) that only the service's own pages may send."""
    open_to_all: set[str] = current_app.extensions["rolecall_cross_site"]
    return request.method == "POST" and request.endpoint not in {None, *open_to_all} and is_from_another_origin()

"""The routes of the three services that the hostile corpus is sent to."""

from __future__ import annotations

from typing import Final

from rolecall.web.routes import Route
from rolecall_auth.routes import ROUTES as AUTH_ROUTES
from rolecall_client.routes import ROUTES as CLIENT_ROUTES
from rolecall_resource.routes import ROUTES as API_ROUTES

_MORE: Final = (
    "/healthz",
    "/readyz",
    "/static/rolecall/rolecall.css",
    "/openapi.json",
    "/_lab/view",
    "/metrics",
)
_VIEW: Final = tuple(Route(path, path, ("GET",), lambda: "", "api", "none: not in the table") for path in _MORE)
ROUTES: Final[dict[str, tuple[Route, ...]]] = {
    "auth-service": (*AUTH_ROUTES, *_VIEW),
    "client-webapp": (*CLIENT_ROUTES, *_VIEW),
    "resource-service": (*API_ROUTES, *_VIEW),
}
SERVICES: Final = ("auth-service",) * 5 + ("client-webapp",) * 3 + ("resource-service",) * 3
"""Services to choose from, as often as they are attacked."""

"""The host names of requests: unknown ones are rejected, and browsers are redirected to the public address."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from flask import Flask
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header
from werkzeug.utils import redirect

from rolecall.web.app import plain_response
from rolecall.web.headers import SECURITY_HEADERS
from rolecall.web.health import HEALTH_PATHS
from rolecall_lab.settings import LabSettings, is_own_machine

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def reject_unknown_hosts(application: WSGIApplication, lab: LabSettings) -> WSGIApplication:
    """Return 403 for every path under an unknown host name.

    After DNS rebinding, a page of another site has the same origin as the service, and only the name shows it: in the
    Host header or, behind trusted proxies that change it, in the host that the application uses.
    """

    is_known = lru_cache(maxsize=64)(lab.is_known_host)

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        received = environ.get("werkzeug.proxy_fix.orig", environ)
        if is_known(received.get("HTTP_HOST") or "") and is_known(environ.get("HTTP_HOST") or ""):
            return application(environ, start_response)
        text = f"The lab does not accept requests under this host name. Open it at {lab.own_url}"
        return plain_response(403, text, start_response, ("Connection", "close"))

    return middleware


def redirect_to_public_host(application: WSGIApplication, app: Flask, public_url: str) -> WSGIApplication:
    """Redirect browsers from this machine's other names to its public name, because names do not share cookies.

    Args:
        app: the service, whose routes show which requests are those of other programs.
        public_url: the address to redirect to; only requests with its port are redirected, so that a proxy that
            changes the Host header cannot cause a loop.
    """
    public = urlsplit(public_url)
    port = f":{public.port}" if public.port else ""
    public_host = public.netloc.lower()

    def is_other_name(host: str) -> bool:
        return host != public_host and host.endswith(port) and is_own_machine(host.removesuffix(port))

    def is_for_browsers(environ: WSGIEnvironment) -> bool:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] != "GET" or path in HEALTH_PATHS or f"{path}/".startswith("/_lab/"):
            return False
        accepted = parse_accept_header(environ.get("HTTP_ACCEPT"), MIMEAccept)
        if accepted.best_match(["application/json", "text/html"]) != "text/html":
            return False
        if environ.get("HTTP_SEC_FETCH_MODE") == "navigate":
            return True
        # the HTTP client of Java names text/html by default
        routes = app.extensions.get("rolecall_routes", ())
        return "HTTP_AUTHORIZATION" not in environ and not any(
            route.kind == "api" and route.path == path for route in routes
        )

    def middleware(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not is_other_name(environ.get("HTTP_HOST", "").lower()) or not is_for_browsers(environ):
            return application(environ, start_response)
        query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
        response = redirect(f"{public.scheme}://{public.netloc}{quote(requested_path(environ))}{query}")
        response.headers.extend(SECURITY_HEADERS)
        return response(environ, start_response)

    return middleware


def requested_path(environ: WSGIEnvironment) -> str:
    """Return the whole path of a request, without percent-encoding."""
    if environ.get("SCRIPT_NAME"):  # the application is located below it, but for the metadata it follows the path
        return unquote(urlsplit(environ["RAW_URI"]).path, errors="replace")
    path: str = environ.get("PATH_INFO", "")
    return path.encode("latin-1", "replace").decode(errors="replace")

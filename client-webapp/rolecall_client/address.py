"""The redirect from other loopback names to the address that the settings name."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, g, redirect, request
from flask.typing import ResponseReturnValue

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


def redirect_loopback_names(app: Flask, public_url: str) -> None:
    """Redirect GET requests for pages under another loopback name than that of `public_url` to the same path there.

    Authorization responses go to `public_url`, where the browser does not send the cookies of the other name. Only
    loopback names with the port of `public_url` are redirected: a proxy may pass on requests under any other name, and
    would get the same redirect again.
    """
    public = urlsplit(public_url)
    port = f":{public.port}" if public.port else ""
    others = {f"{name}{port}" for name in _LOOPBACK} - {public.netloc.lower()}

    def redirect_to_public_url() -> ResponseReturnValue | None:
        if request.method != "GET" or g.kind != "page" or request.host.lower() not in others:
            return None
        query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
        return redirect(f"{public_url}{quote(request.path)}{query}")

    if public.hostname in {"localhost", "127.0.0.1", "::1"} or (public.hostname or "").endswith(".localhost"):
        app.before_request(redirect_to_public_url)

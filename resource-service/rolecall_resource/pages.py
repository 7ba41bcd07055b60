"""The first page, for people: what this API answers, to whom, and how to get a token for it."""

from __future__ import annotations

from typing import Final, cast

from flask import current_app, render_template, request
from flask.typing import ResponseReturnValue

from rolecall.errors import OAuthError, json_response
from rolecall.vocabulary import RESOURCE_METADATA_PATH
from rolecall.web.routes import Route
from rolecall_resource.protect import metadata_url
from rolecall_resource.settings import Settings

SENTENCES: Final = {
    "invoices": "The invoices of the token's owner, the newest first, a page at a time.",
    "invoice": "One of them.",
    "payment": "Pays it: 201 once, and 409 when it is paid already.",
    "profile": "The owner's name and address.",
}
"""What each endpoint does, by its name in the table of routes."""


def home() -> ResponseReturnValue:
    """GET /: a page for browsers; a program that opens the bare address is told that nothing is there."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        text = f"Nothing is at this address. What there is, the metadata say: {RESOURCE_METADATA_PATH}"
        return json_response(OAuthError("not_found", text, status=404))
    settings = cast("Settings", current_app.extensions["rolecall_resource"])
    routes: tuple[Route, ...] = current_app.extensions["rolecall_routes"]
    endpoints = [
        (route.methods[0], route.path, route.view.scope, SENTENCES[route.name])
        for route in routes
        if hasattr(route.view, "scope")
    ]
    return render_template("home.html", endpoints=endpoints, settings=settings, metadata_url=metadata_url(settings))

"""The home page: a description of the API, and how to get an access token."""

from __future__ import annotations

from typing import Final, cast

from flask import current_app, render_template, request
from flask.typing import ResponseReturnValue

from rolecall.errors import OAuthError, json_response
from rolecall.vocabulary import RESOURCE_METADATA_PATH
from rolecall.web.routes import Route
from rolecall_resource.protect import metadata_url
from rolecall_resource.settings import Settings

SUMMARIES: Final = {
    "invoices": "A page of the owner's invoices, newest first.",
    "invoice": "One of the owner's invoices.",
    "payment": "Pays the invoice: 201, or 409 if it is already paid.",
    "profile": "The owner's name and email address.",
}
"""A summary of each endpoint, by route name."""


def home() -> ResponseReturnValue:
    """GET /: the home page for browsers, 404 in JSON for other clients."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) != "text/html":
        text = f"Not found. The resource metadata is at {RESOURCE_METADATA_PATH}"
        return json_response(OAuthError("not_found", text, status=404))
    settings = cast("Settings", current_app.extensions["rolecall_resource"])
    routes: tuple[Route, ...] = current_app.extensions["rolecall_routes"]
    endpoints = [
        (route.methods[0], route.path, route.view.scope, SUMMARIES[route.name])
        for route in routes
        if hasattr(route.view, "scope")
    ]
    return render_template("home.html", endpoints=endpoints, settings=settings, metadata_url=metadata_url(settings))

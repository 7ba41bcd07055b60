"""A mistaken provider: a small OpenID Provider, each of whose responses can be altered by name."""

from __future__ import annotations

from flask import Flask, request
from flask.typing import ResponseReturnValue

from rolecall.vocabulary import METADATA_PATH
from rolecall_lab.settings import LabSettings


def serve(app: Flask, lab: LabSettings) -> None:
    """Add the provider to the observer's application; it is imported at its first request."""

    def view(name: str, path: str = "") -> ResponseReturnValue:
        from rolecall_lab.mistakes.serving import provider  # noqa: PLC0415

        return provider(name, f"/mistakes/{name}/{path}" if path else request.path)

    app.extensions["mistakes"] = lab
    app.add_url_rule("/mistakes/<name>/<path:path>", "mistakes", view, methods=["GET", "POST"])
    app.add_url_rule(f"{METADATA_PATH}/mistakes/<name>", "mistakes", view)
    app.extensions["rolecall_kinds"]["mistakes"] = "api"
    app.extensions["rolecall_cross_site"].add("mistakes")
    csrf = app.extensions.get("csrf")
    if csrf is not None:
        csrf.exempt(view)

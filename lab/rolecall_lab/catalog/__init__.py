"""The catalog of flows in the client: each flow with its source, its expected outcome, and a button to start it."""

from __future__ import annotations

from flask import Blueprint, Flask

from rolecall_lab.catalog import own_client, pages
from rolecall_lab.catalog.entries import ENTRIES
from rolecall_lab.catalog.runs import watched
from rolecall_lab.settings import LabSettings


def show(app: Flask, lab: LabSettings) -> None:
    """Add the catalog's flows and pages to the client's application."""
    app.extensions["catalog"] = lab
    runner = app.extensions["rolecall_client"].runner
    runner.flows |= {entry.flow.name: watched(entry.flow) for entry in ENTRIES.values()}
    blueprint = Blueprint(
        "catalog", __name__, template_folder="templates", static_folder="static", static_url_path="/flows/static"
    )
    blueprint.add_url_rule("/flows", "flows", pages.flows)
    blueprint.add_url_rule("/flows/<name>", "flow", pages.flow)
    blueprint.add_url_rule("/flows/<name>/start", "start", pages.start, methods=["POST"])
    blueprint.add_url_rule("/flows/published/<name>", "published", own_client.published)
    app.register_blueprint(blueprint)
    kinds = ("catalog.flows", "catalog.flow", "catalog.start")
    app.extensions["rolecall_kinds"] |= dict.fromkeys(kinds, "page")
    app.view_functions["callback"] = pages.callback

"""The catalogue of flows in the client: each with its source, what must come of it, and a start (none: the lab's)."""

from __future__ import annotations

from flask import Blueprint, Flask

from rolecall_lab.catalogue import pages
from rolecall_lab.catalogue.entries import ENTRIES
from rolecall_lab.catalogue.runs import watched


def show(app: Flask) -> None:
    """Add the catalogue to the client's application."""
    runner = app.extensions["client_webapp"].runner
    runner.flows |= {entry.flow.name: watched(entry.flow) for entry in ENTRIES.values()}
    blueprint = Blueprint("catalogue", __name__, template_folder="templates")
    blueprint.add_url_rule("/flows", "flows", pages.flows)
    blueprint.add_url_rule("/flows/<name>", "flow", pages.flow)
    blueprint.add_url_rule("/flows/<name>/start", "start", pages.start, methods=["POST"])
    app.register_blueprint(blueprint)
    kinds = ("catalogue.flows", "catalogue.flow", "catalogue.start")
    app.extensions["rolecall_kinds"] |= dict.fromkeys(kinds, "page")
    app.view_functions["callback"] = pages.callback

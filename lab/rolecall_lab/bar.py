"""The lab's navigation bar, which the lab adds to the pages of all services."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from flask import Blueprint, Flask, request
from jinja2 import ChoiceLoader, FileSystemLoader, PrefixLoader

from rolecall_lab.settings import LabSettings, Role

_TEMPLATES: Final = Path(__file__).parent / "templates"

_PLACES: Final[tuple[tuple[str, Role, str], ...]] = (
    ("Tally", "client", "/"),
    ("Accounts", "authorization_server", "/"),
    ("API", "resource_server", "/"),
    ("Observer", "observer", "/"),
    ("Catalog", "client", "/flows"),
    ("Compare", "client", "/compare"),
    ("Docs", "observer", "/docs/"),
)
"""The label of each entry, the service that has the page, and the path there."""


class Place(NamedTuple):
    """An entry of the bar.

    Args:
        current: the value of `aria-current`: `page` for the page itself, `true` for a page below it; else empty.
    """

    label: str
    url: str
    current: str


def add_bar(app: Flask, lab: LabSettings) -> None:
    """Add the bar to the pages of a service, and serve the lab's style sheets."""
    blueprint = Blueprint(
        "lab", __name__, template_folder="templates", static_folder="static", static_url_path="/static/lab"
    )
    app.register_blueprint(blueprint)
    app.jinja_env.globals["lab_places"] = lambda: places(lab, request.path)
    override_templates(app, "every")


def override_templates(app: Flask, folder: str) -> None:
    """Prefer the lab's templates in `folder`; they can extend the originals as `product/<name>`."""
    loader = app.jinja_env.loader
    assert loader is not None
    overrides = FileSystemLoader(_TEMPLATES / folder)
    app.jinja_env.loader = ChoiceLoader([overrides, loader, PrefixLoader({"product": loader})])


def places(lab: LabSettings, path: str) -> list[Place]:
    """Return the entries of the bar on the page of this service at `path`."""
    addresses: dict[Role, str | None] = {
        "client": lab.client_url,
        "authorization_server": lab.auth_url,
        "resource_server": lab.resource_url,
        "observer": lab.observer_url,
        lab.role: lab.own_url,
    }
    own = [each for _, role, each in _PLACES if role == lab.role and f"{path}/".startswith(f"{each.rstrip('/')}/")]
    current = max(own, key=len)
    return [
        Place(label, f"{address}{place}", _mark(path, place) if (role, place) == (lab.role, current) else "")
        for label, role, place in _PLACES
        if (address := addresses[role])
    ]


def _mark(path: str, place: str) -> str:
    return "page" if path == place else "true"

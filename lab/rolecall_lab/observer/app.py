"""The observer's application."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, request

from rolecall.http import HttpClient
from rolecall.web.app import create_flask
from rolecall.web.headers import cookie_settings
from rolecall.web.health import health_routes
from rolecall.web.routes import is_from_another_origin, register
from rolecall_lab.bar import add_bar
from rolecall_lab.hosts import redirect_to_public_host, reject_unknown_hosts
from rolecall_lab.observer import routes, site, svg
from rolecall_lab.observer.diagram import INTERNAL_VALUES, MAX_CHIPS
from rolecall_lab.observer.drawing import chip_text, facts
from rolecall_lab.observer.live import Live
from rolecall_lab.observer.tail import Tail
from rolecall_lab.observer.texts import duration
from rolecall_lab.observer.tokens import KeySet
from rolecall_lab.recording.flows import Flows
from rolecall_lab.settings import LabSettings

MAX_UPLOAD = 2 * 1024 * 1024
"""Bytes of an uploaded file of events."""

_HERE = Path(__file__).parent


def create_app(lab: LabSettings) -> Flask:
    """Create the application. Each worker starts the reading thread: `app.extensions["observer"].tail.start()`."""
    app = create_flask(__name__, lab)
    app.config.update(SECRET_KEY=secrets.token_hex(32), MAX_CONTENT_LENGTH=MAX_UPLOAD, MAX_FORM_MEMORY_SIZE=MAX_UPLOAD)
    flows = Flows()
    keys = KeySet((lab.auth_backchannel_urls or (lab.auth_url,))[0], HttpClient(connect=0.5, read=1.0))
    live = Live(lab, flows, Tail(lab.lab_redis_url, flows), keys, app.jinja_env)
    app.extensions["observer"] = live
    cookie_settings(app, "rolecall_observer", lab.observer_url or "http://localhost")
    app.register_blueprint(
        Blueprint(
            "observer",
            __name__,
            template_folder=str(_HERE / "templates"),
            static_folder=str(_HERE / "static"),
            static_url_path="/static/observer",
        )
    )
    add_bar(app, lab)
    redirected = redirect_to_public_host(app.wsgi_app, app, lab.own_url)
    app.wsgi_app = reject_unknown_hosts(redirected, lab)  # type: ignore[method-assign, assignment]
    app.before_request(_reject_other_sites)
    app.after_request(site.set_policy)  # runs after the next one
    app.after_request(lambda response: _set_content_security_policy(response, lab.client_url))
    checks = {"redis": lambda: not flows.store_unavailable, "reading": live.tail.is_alive}
    register(app, [*routes.ROUTES, *health_routes(app, checks)])
    app.jinja_env.filters["moment"] = _moment
    app.jinja_env.globals.update(
        mark=svg.mark,
        chip_text=chip_text,
        facts=facts,
        max_chips=MAX_CHIPS,
        internal_values=INTERNAL_VALUES,
        duration=duration,
        service_title="Observer",
        service_role="observer",
        service_role_name="lab",
        client_url=lab.client_url,
    )
    return app


def _moment(seconds: float) -> str:
    """Return a time of the lab's clock as UTC (RFC 3339)."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _reject_other_sites() -> None:
    """Reject requests from pages of other sites, except for links and for frames, which `frame-ancestors` limits."""
    is_navigation = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if is_from_another_origin() and not is_navigation:
        abort(403)


def _set_content_security_policy(response: Response, client_url: str) -> Response:
    """Allow the pages' script and its event stream, and let the client embed the pages in a frame."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors 'self' {client_url}"
    )
    return response

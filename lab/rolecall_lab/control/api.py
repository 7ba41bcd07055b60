"""The lab's control API: JSON endpoints for the clock, the recorded events, and actions, for this machine only.

It is a separate Flask application in front of each service, so that it works while the service is unavailable.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import redis
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from rolecall import clock
from rolecall.storage import connect
from rolecall.web.routes import is_from_another_origin
from rolecall_lab.control import clock as clock_push
from rolecall_lab.control import self_report
from rolecall_lab.control.errors import Refusal
from rolecall_lab.recording.event import SCHEMA
from rolecall_lab.recording.flows import read_after, read_flows
from rolecall_lab.recording.marks import masked
from rolecall_lab.recording.recorder import MAX_EVENTS, STREAM, Recorder
from rolecall_lab.settings import LabSettings

if TYPE_CHECKING:
    from rolecall_lab.control.actions import Actions

PREFIX: Final = "/_lab"
"""The start of every path of the API."""

MAX_BODY: Final = 1024
"""Maximum size of a request body, in bytes."""

MAX_ACTION: Final = 10 * 1024
"""Maximum size of the body of an action, which may contain a token, in bytes."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ControlApi:
    """The endpoints of one service's control API.

    The API does not authenticate callers. Instead, it rejects requests from other sites.

    Args:
        actions: the actions of the authorization server; None for the other services, which have no `/_lab/acts`.
    """

    def __init__(self, service: Flask, lab: LabSettings, recorder: Recorder, actions: Actions | None = None) -> None:
        self._service = service
        self._lab = lab
        self._recorder = recorder
        self._actions = actions
        self._client = connect(lab.lab_redis_url)
        self._views: Final[dict[str, dict[str, Callable[[], Response]]]] = {
            f"{PREFIX}/clock": {"GET": self._get_clock, "PUT": self._put_clock, "DELETE": self._delete_clock},
            f"{PREFIX}/events": {"GET": self._get_events, "DELETE": self._delete_events},
            f"{PREFIX}/flows": {"GET": self._get_flows},
            f"{PREFIX}/view": {"GET": self._get_self_report},
        }
        if actions is not None:
            self._views[f"{PREFIX}/acts"] = {"GET": self._get_actions, "POST": self._post_action}

    def create_app(self) -> Flask:
        """Create the WSGI application for the paths below `PREFIX`."""
        app = Flask(__name__, static_folder=None, template_folder=None)
        app.extensions["rolecall_clock"] = self._service.extensions["rolecall_clock"]
        app.url_map.merge_slashes = False
        for path, views in self._views.items():
            for method, view in views.items():
                app.add_url_rule(path, f"{method} {path}", view, methods=[method], provide_automatic_options=False)
        app.before_request(self._reject_other_sites)
        app.register_error_handler(Refusal, _refused)
        app.register_error_handler(NotFound, self._not_found)
        app.register_error_handler(MethodNotAllowed, self._method_not_allowed)
        app.register_error_handler(HTTPException, _http_error)
        app.register_error_handler(redis.RedisError, _redis_unavailable)
        app.register_error_handler(OSError, _redis_unavailable)
        return app

    def _reject_other_sites(self) -> None:
        """Reject requests from pages of other sites; also GET, because reading a full stream takes seconds."""
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and self._lab.role_of(origin) == "other"
        if is_foreign or is_from_another_origin():
            raise Refusal(HTTPStatus.FORBIDDEN, "pages of other sites cannot use the lab's control API")

    def _not_found(self, _error: NotFound) -> Response:
        message = f"not found; available endpoints: {', '.join(self._views)}"
        return _json({"error": message}, HTTPStatus.NOT_FOUND)

    def _method_not_allowed(self, _error: MethodNotAllowed) -> Response:
        allowed = ", ".join(self._views[request.path])
        message = f"{request.path} does not support {request.method}; use {allowed}"
        return _json({"error": message}, HTTPStatus.METHOD_NOT_ALLOWED, Allow=allowed)

    def _get_clock(self) -> Response:
        return _json({"now": clock.now(), "offset": clock.offset(), "workers": clock_push.workers(self._client)})

    def _put_clock(self) -> Response:
        name, number = _requested_time()
        if name == "now":
            name, number = "offset", number - (clock.now() - clock.offset())
        return self._set_clock(number, advance=name == "advance")

    def _delete_clock(self) -> Response:
        return self._set_clock(0.0)

    def _set_clock(self, seconds: float, *, advance: bool = False) -> Response:
        try:
            change = clock_push.set_offset(self._client, seconds, advance=advance)
        except clock_push.OutOfRange:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the clock can be moved by at most ten years") from None
        report: dict[str, Any] = {"now": clock.now(), "offset": change.offset, "workers": change.workers}
        if 0 < change.workers <= change.acknowledged:
            return _json(report)
        error = f"only {change.acknowledged} of {change.workers} workers confirmed the new time"
        return _json({**report, "acknowledged": change.acknowledged, "error": error}, HTTPStatus.GATEWAY_TIMEOUT)

    def _get_events(self) -> Response:
        self._recorder.flush()
        limit, after = _limit(), _after()
        events, last = read_after(self._client, after, request.args.get("flow"), limit)
        return _json({"schema": SCHEMA, "last": last, "events": masked(events)})

    def _delete_events(self) -> Response:
        self._recorder.flush()
        number = self._client.xlen(STREAM)
        self._client.delete(STREAM)
        return _json({"deleted": number})

    def _get_flows(self) -> Response:
        self._recorder.flush()
        return _json({"schema": SCHEMA, "flows": [asdict(flow) for flow in read_flows(self._client)]})

    def _get_self_report(self) -> Response:
        return _json(self_report.collect(self._service, self._lab))

    def _get_actions(self) -> Response:
        assert self._actions is not None
        return _json({"acts": list(self._actions.available), **self._actions.status()})

    def _post_action(self) -> Response:
        assert self._actions is not None
        members = {name: action.member for name, action in self._actions.available.items()}
        return _json({"said": self._actions.run(*_requested_action(members))})


def _requested_action(members: Mapping[str, str | None]) -> tuple[str, str]:
    """Return the name of the requested action and the value of its member.

    Args:
        members: the member that each action requires; None if it requires none. The value is then empty.
    """
    if request.mimetype != "application/json":  # HTML forms of other sites cannot send this media type
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON with Content-Type: application/json")
    expected = 'send a JSON object with "act" and the member that the action requires'
    if request.content_length is None or request.content_length > MAX_ACTION:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body must have at most {MAX_ACTION} bytes; {expected}")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON; {expected}") from None
    if not isinstance(body, dict) or "act" not in body:
        raise Refusal(HTTPStatus.BAD_REQUEST, expected)
    name = body.pop("act")
    if not isinstance(name, str) or name not in members:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"unknown action; available actions: {', '.join(members)}")
    member = members[name]
    if body.keys() != ({member} if member else set()):
        required = f'requires "{member}" and no other members' if member else "takes no other members"
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the action {name} {required}")
    value = body[member] if member else ""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{member} must be a string of printable ASCII characters")
    return name, value


def _requested_time() -> tuple[str, float]:
    """Return the name and the number of the body's only member."""
    expected = 'send a JSON object with exactly one of "offset" (seconds), "advance" (seconds), and "now" (Unix time)'
    if request.content_length is None or request.content_length > MAX_BODY:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body must have at most {MAX_BODY} bytes; {expected}")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON; {expected}") from None
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"offset", "advance", "now"}:
        raise Refusal(HTTPStatus.BAD_REQUEST, expected)
    [(name, number)] = body.items()
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} must be a number")
    # check the range first, because an integer may be too large for a float
    if not -1e12 < number < 1e12 or not math.isfinite(number):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} is out of range; the clock can be moved by at most ten years")
    return name, float(number)


def _limit() -> int:
    text = request.args.get("limit", str(MAX_EVENTS))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_EVENTS):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"limit must be a number from 1 to {MAX_EVENTS}")
    return int(text)


def _after() -> str:
    text = request.args.get("after", "")
    if text and not re.fullmatch(r"[0-9]{1,15}-[0-9]{1,15}", text):
        raise Refusal(HTTPStatus.BAD_REQUEST, 'after must be the "last" member of an earlier response')
    return text


def _refused(refusal: Refusal) -> Response:
    return _json({"error": str(refusal)}, refusal.status, **refusal.headers)


def _http_error(error: HTTPException) -> Response:
    return _json({"error": error.description}, HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR))


def _redis_unavailable(_error: Exception) -> Response:
    message = "Redis does not respond, and the lab needs it"
    return _json({"error": message}, HTTPStatus.SERVICE_UNAVAILABLE)


def _json(value: dict[str, Any], status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Response:
    return Response(
        json.dumps(value) + "\n", status=status, headers={**_HEADERS, **headers}, mimetype="application/json"
    )

"""The lab's control endpoints under /_lab: the clock, what was recorded, acts. JSON, for this machine only."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import redis
from flask import Flask
from werkzeug.wrappers import Request, Response

from rolecall import clock
from rolecall.storage import connect
from rolecall_lab.control import clock as clock_push
from rolecall_lab.control import self_report
from rolecall_lab.recording.flows import read_after, read_flows
from rolecall_lab.recording.recorder import MAX_EVENTS, SCHEMA, STREAM, Recorder
from rolecall_lab.recording.redaction import masked
from rolecall_lab.settings import LabSettings

PREFIX: Final = "/_lab"

MAX_BODY: Final = 1024
"""Bytes."""

MAX_ACT: Final = 10 * 1024
"""Bytes: an act may name a token."""

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Refusal(Exception):
    """The request cannot be answered; the text says what is wrong with it."""

    def __init__(self, status: HTTPStatus, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class Control:
    """Answers every request under `PREFIX`. Nobody signs in here, so other sites' pages are kept out."""

    def __init__(self, app: Flask, lab: LabSettings, recorder: Recorder) -> None:
        self._app = app
        self._lab = lab
        self._recorder = recorder
        self._client = connect(lab.lab_redis_url)
        self._views: Final[dict[str, dict[str, Callable[[Request], Response]]]] = {
            "/_lab/clock": {"GET": self._get_clock, "PUT": self._put_clock, "DELETE": self._delete_clock},
            "/_lab/events": {"GET": self._get_events, "DELETE": self._delete_events},
            "/_lab/flows": {"GET": self._get_flows},
            "/_lab/view": {"GET": self._get_view},
        }
        if "rolecall_auth" in app.extensions:
            # only there may the authorization server be imported
            from rolecall_lab.control.actions import Acts  # noqa: PLC0415

            self._acts = Acts(app, self._client)
            self._views["/_lab/acts"] = {"GET": self._get_acts, "POST": self._post_acts}

    def answer(self, request: Request) -> Response:
        """The answer to a request under `PREFIX`."""
        try:
            self._refuse_other_sites(request)
            return self._view(request)(request)
        except Refusal as refusal:
            return _json({"error": str(refusal)}, refusal.status, **refusal.headers)
        except (redis.RedisError, OSError):
            return _json({"error": "Redis does not answer; the lab can do nothing without it"}, HTTPStatus(503))

    def _refuse_other_sites(self, request: Request) -> None:
        """Keep out other names for this machine (DNS rebinding), and changes that another site's page asks for."""
        if not self._lab.is_known_host(request.environ.get("HTTP_HOST", "")):
            raise Refusal(HTTPStatus.FORBIDDEN, "the Host header names neither this machine nor one of the services")
        if request.method in {"GET", "HEAD"}:
            return
        origin = request.headers.get("Origin")
        foreign = origin is not None and self._lab.role_of(origin) == "other"
        if foreign or request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise Refusal(HTTPStatus.FORBIDDEN, "a page of another site may change nothing here")

    def _view(self, request: Request) -> Callable[[Request], Response]:
        views = self._views.get(request.path)
        if views is None:
            raise Refusal(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._views)}, and nothing else here")
        answer = views.get("GET" if request.method == "HEAD" else request.method)
        if answer is None:
            allowed = ", ".join(views)
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.path} answers to {allowed}", Allow=allowed)
        return answer

    def _get_clock(self, _request: Request) -> Response:
        return _json({"now": clock.now(), "offset": clock.offset(), "workers": clock_push.workers(self._client)})

    def _put_clock(self, request: Request) -> Response:
        name, number = _turn_asked(request)
        if name == "now":
            name, number = "offset", number - (clock.now() - clock.offset())
        return self._turn(number, advance=name == "advance")

    def _delete_clock(self, _request: Request) -> Response:
        return self._turn(0.0)

    def _turn(self, seconds: float, *, advance: bool = False) -> Response:
        try:
            turned = clock_push.turn(self._client, seconds, advance=advance)
        except clock_push.OutOfRange:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the clock can be turned by ten years at most") from None
        answer: dict[str, Any] = {"now": clock.now(), "offset": turned.offset, "workers": turned.workers}
        if 0 < turned.workers <= turned.acknowledged:
            return _json(answer)
        missing = f"only {turned.acknowledged} of {turned.workers} workers answered that they have the new time"
        return _json({**answer, "acknowledged": turned.acknowledged, "error": missing}, HTTPStatus.GATEWAY_TIMEOUT)

    def _get_events(self, request: Request) -> Response:
        self._recorder.flush()
        limit, after = _limit(request), _after(request)
        events, last = read_after(self._client, after, request.args.get("flow"), limit)
        return _json({"schema": SCHEMA, "last": last, "events": masked(events)})

    def _delete_events(self, _request: Request) -> Response:
        self._recorder.flush()
        number = self._client.xlen(STREAM)
        self._client.delete(STREAM)
        return _json({"deleted": number})

    def _get_flows(self, _request: Request) -> Response:
        self._recorder.flush()
        return _json({"schema": SCHEMA, "flows": [asdict(flow) for flow in read_flows(self._client)]})

    def _get_view(self, _request: Request) -> Response:
        return _json(self_report.of(self._app, self._lab))

    def _get_acts(self, _request: Request) -> Response:
        return _json({"acts": list(self._acts.known), **self._acts.condition()})

    def _post_acts(self, request: Request) -> Response:
        needed = {name: member for name, (member, _) in self._acts.known.items()}
        return _json({"said": self._acts.do(*_act_asked(request, needed))})


def _act_asked(request: Request, needed: Mapping[str, str | None]) -> tuple[str, str]:
    """The act, and the value of the member that it needs; empty when it needs none."""
    if request.mimetype != "application/json":  # which no form of another site can send
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
    expected = 'send a JSON object with "act" and what the act needs'
    if request.content_length is None or request.content_length > MAX_ACT:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{expected}, of {MAX_ACT} bytes at most")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON; {expected}") from None
    if not isinstance(body, dict) or "act" not in body:
        raise Refusal(HTTPStatus.BAD_REQUEST, expected)
    act = body.pop("act")
    if not isinstance(act, str) or act not in needed:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"there is no such act; there is {', '.join(needed)}")
    member = needed[act]
    if body.keys() != ({member} if member else set()):
        needs = f'"{member}" and nothing else' if member else "nothing else"
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{act} needs {needs}")
    value = body[member] if member else ""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{member} must be text of printable ASCII")
    return act, value


def _turn_asked(request: Request) -> tuple[str, float]:
    """The one member of the body, and its number."""
    expected = 'send a JSON object with exactly one of "offset", "advance" (seconds) and "now" (seconds since 1970)'
    if request.content_length is None or request.content_length > MAX_BODY:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{expected}, of {MAX_BODY} bytes at most")
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON; {expected}") from None
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"offset", "advance", "now"}:
        raise Refusal(HTTPStatus.BAD_REQUEST, expected)
    [(name, number)] = body.items()
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} must be a number")
    # the range first: an integer may be too large for a float
    if not -1e12 < number < 1e12 or not math.isfinite(number):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} is out of range; the clock can be turned by ten years at most")
    return name, float(number)


def _limit(request: Request) -> int:
    text = request.args.get("limit", str(MAX_EVENTS))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_EVENTS):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"limit must be a number from 1 to {MAX_EVENTS}")
    return int(text)


def _after(request: Request) -> str:
    text = request.args.get("after", "")
    if text and not re.fullmatch(r"[0-9]{1,15}-[0-9]{1,15}", text):
        raise Refusal(HTTPStatus.BAD_REQUEST, 'after must be what an earlier answer had as its "last"')
    return text


def _json(value: dict[str, Any], status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Response:
    return Response(
        json.dumps(value) + "\n", status=status, headers={**_HEADERS, **headers}, mimetype="application/json"
    )

"""A service described in OpenAPI 3.1, made once a process from the table of routes, and from the checks that refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, current_app, request
from flask.typing import ResponseReturnValue

from rolecall import __version__
from rolecall.checks import Check
from rolecall.storage import digest
from rolecall.web.app import MAX_REQUEST_BODY
from rolecall.web.routes import Kind, Route

MAX_AGE: Final = 60
"""Seconds that others may keep a description."""

HTML: Final = "text/html"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"

Schema = Mapping[str, Any]
"""A JSON Schema, as OpenAPI 3.1 has them."""

Security = tuple[Mapping[str, Sequence[str]], ...]
"""Alternatives: each maps names of security schemes to scopes; an empty one is to go without."""

_HEADERS: Final[Mapping[str, tuple[str, Schema]]] = {
    "Cache-Control": ("How long the answer may be kept.", {"type": "string"}),
    "ETag": ("For If-None-Match (RFC 9110 section 8.8.3).", {"type": "string"}),
    "Location": ("Where to go on (RFC 9110 section 10.2.2).", {"type": "string", "format": "uri-reference"}),
    "Retry-After": ("Seconds to wait (RFC 9110 section 10.2.3).", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("What is wanted (RFC 9110 section 11.6.1).", {"type": "string"}),
}
_REQUEST_ID: Final = {
    "description": "Names the request in the log.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}


@dataclass(frozen=True, slots=True)
class ResponseObject:
    """One of an operation's answers; the headers that it names are always there.

    Args:
        content: the body's schema by media type; without any there is no body.
        checks: whose failure leads here.
    """

    status: int
    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does when it is asked by one method.

    Args:
        parameters: Parameter Objects; those of the path are added.
        form: the schema of the body, when there is one to be read; answers to bodies that are too long are added.
        extensions: members whose names begin with `x-`.
        json: the same as `form` for a body in JSON.
    """

    summary: str
    responses: tuple[ResponseObject, ...]
    parameters: tuple[Schema, ...] = ()
    form: Schema | None = None
    security: Security = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)
    json: Schema | None = None


Operations = Mapping[tuple[str, str], Operation]
"""By a route's name and a method."""


@dataclass(frozen=True, slots=True)
class Description:
    """All that is said of a service beside its table of routes; `server` is its public address."""

    title: str
    text: str
    server: str
    operations: Operations
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    security_schemes: Mapping[str, Schema] = field(default_factory=dict)


def string(**more: Any) -> Schema:
    """The schema of a text."""
    return {"type": "string", **more}


def closed(properties: Mapping[str, Schema], *, optional: Iterable[str] = ()) -> Schema:
    """The schema of an object that has these members and no others."""
    required = [name for name in properties if name not in {*optional}]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def ref(name: str) -> Schema:
    """One of the description's own schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def error_body(*errors: str) -> Schema:
    """The body of an error (RFC 6749 section 5.2)."""
    description = string(pattern=r"^[\x20\x21\x23-\x5b\x5d-\x7e]*$")
    return closed({"error": string(enum=sorted({*errors})), "error_description": description})


def json_response(description: str, schema: Schema, *headers: str, status: int = 200) -> ResponseObject:
    """An answer in JSON."""
    return ResponseObject(status, description, {JSON: schema}, headers)


def html(status: int, description: str, *headers: str, checks: tuple[Check, ...] = ()) -> ResponseObject:
    """A page."""
    return ResponseObject(status, description, {HTML: string()}, headers, checks)


def redirect(description: str, *checks: Check) -> ResponseObject:
    """The browser goes on with a GET."""
    return ResponseObject(303, description, {HTML: string()}, ("Location",), checks)


def error_responses(*checks: Check, headers: Mapping[int, tuple[str, ...]]) -> tuple[ResponseObject, ...]:
    """The errors in JSON that these checks answer with, one for each status.

    Args:
        headers: what each status has.
    """
    return tuple(
        ResponseObject(
            status,
            HTTPStatus(status).phrase,
            {JSON: error_body(*(check.error for check in checks if check.status == status))},
            headers.get(status, ()),
            tuple(check for check in checks if check.status == status),
        )
        for status in sorted({check.status for check in checks})
    )


def unavailable(kind: Kind, *checks: Check) -> ResponseObject:
    """503: something that the service needs does not answer; the checks are those that tell."""
    text = "Something that this service needs does not answer now; nothing is lost by asking again."
    content = {HTML: string()} if kind == "page" else {JSON: error_body("temporarily_unavailable")}
    return ResponseObject(503, text, content, ("Retry-After",), checks)


NOT_MODIFIED: Final = ResponseObject(304, "It is what If-None-Match names.", headers=("ETag",))
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "An ETag that is known already (RFC 9110 section 13.1.2).",
    "schema": string(),
}

_EVERYWHERE: Final[Operations] = {
    ("openapi", "GET"): Operation(
        "This description",
        (json_response("OpenAPI 3.1.", {"type": "object"}, "ETag"), NOT_MODIFIED),
        (IF_NONE_MATCH,),
    ),
    ("healthz", "GET"): Operation(
        "Whether the process serves", (json_response("It does.", closed({"status": string(const="ok")})),)
    ),
    ("readyz", "GET"): Operation(
        "Whether all that the service needs answers",
        tuple(
            json_response(
                description,
                {
                    "type": "object",
                    "properties": {"status": string(const=word)},
                    "required": ["status"],
                    "additionalProperties": {"type": "boolean"},
                },
                status=status,
            )
            for status, word, description in ((200, "ready", "It does."), (503, "not ready", "Something does not."))
        ),
    ),
}


def openapi() -> ResponseReturnValue:
    """GET /openapi.json: the description that `publish` made."""
    body, tag = current_app.extensions["rolecall_openapi"]
    response = Response(body, mimetype=JSON, headers={"Cache-Control": f"public, max-age={MAX_AGE}"})
    response.set_etag(tag)
    return response.make_conditional(request)


ROUTE: Final = Route("openapi", "/openapi.json", ("GET",), openapi, "api", "none: OpenAPI 3.1")


def publish(app: Flask, description: Description) -> None:
    """Make the document of the application's table of routes; `ROUTE` answers with it."""
    text = json.dumps(document(description, app.extensions["rolecall_routes"]), separators=(",", ":"))
    app.extensions["rolecall_openapi"] = (text.encode(), digest(text)[:32])


def document(description: Description, routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI Object. A route that nothing is said of is left out, which a contract test notices."""
    operations = {**_EVERYWHERE, **description.operations}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in route.methods:
            if operation := operations.get((route.name, method)):
                paths.setdefault(path_template(route), {})[method.lower()] = _operation(route, method, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": description.title, "description": description.text, "version": __version__},
        "servers": [{"url": description.server}],
        "tags": [{"name": name} for name in _TAGS.values()],
        "paths": paths,
        "components": {"schemas": description.schemas, "securitySchemes": description.security_schemes},
    }


_TAGS: Final[Mapping[Kind, str]] = {"api": "for programs", "page": "for people"}


def path_template(route: Route) -> str:
    """The route's path as OpenAPI writes it."""
    return re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.path)


def _operation(route: Route, method: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}-{route.name}",
        "summary": operation.summary,
        "tags": [_TAGS[route.kind]],
        "parameters": [*_path_parameters(route), *operation.parameters],
        "responses": {
            str(answer.status): _response(answer)
            for answer in (*operation.responses, *_answers_to_bodies(route.kind, method))
        },
        "x-clause": route.clause,
        **operation.extensions,
    }
    if operation.form is not None:
        described["requestBody"] = {"required": True, "content": {FORM: {"schema": operation.form}}}
    if operation.json is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": operation.json}}}
    if operation.security:
        described["security"] = list(operation.security)
    return described


def _path_parameters(route: Route) -> list[Schema]:
    found: list[tuple[str, str]] = re.findall(r"<(path:)?(\w+)>", route.path)
    segment = "[^/]+"
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": string(pattern=f"^{segment}(/{segment})*$" if several else f"^{segment}$"),
        }
        for several, name in found
    ]


def _answers_to_bodies(kind: Kind, method: str) -> list[ResponseObject]:
    """Those to bodies that no view sees (RFC 9110 sections 15.5.12 and 15.5.14)."""
    if method == "GET":
        return []
    content = {HTML: string()} if kind == "page" else {JSON: error_body("invalid_request")}
    return [
        ResponseObject(411, "The body came with Transfer-Encoding instead of Content-Length.", content),
        ResponseObject(413, f"The body is longer than {MAX_REQUEST_BODY} bytes.", content),
    ]


def _response(answer: ResponseObject) -> dict[str, Any]:
    headers = {
        name: {"description": _HEADERS[name][0], "required": True, "schema": _HEADERS[name][1]}
        for name in ("Cache-Control", *answer.headers)
    }
    described: dict[str, Any] = {
        "description": answer.description,
        "headers": {**headers, "X-Request-Id": _REQUEST_ID},
    }
    if answer.content:
        described["content"] = {media_type: {"schema": schema} for media_type, schema in answer.content.items()}
    if answer.checks:
        described["x-checks"] = [
            {"name": check.name, "clause": check.clause, "error": check.error, "description": check.description}
            for check in answer.checks
        ]
    return described

"""The OpenAPI 3.1 description of a service, built once per process from its routes and checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, current_app
from flask.typing import ResponseReturnValue

from rolecall import __version__
from rolecall.checks import Check
from rolecall.web.bodies import MAX_REQUEST_BODY
from rolecall.web.documents import Document
from rolecall.web.routes import Kind, Route

MAX_AGE: Final = 60
"""Seconds for which a description may be cached."""

HTML: Final = "text/html"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"

Schema = Mapping[str, Any]
"""A JSON Schema in the dialect of OpenAPI 3.1."""

Security = tuple[Mapping[str, Sequence[str]], ...]
"""Alternatives, each of which maps security schemes to scopes; an empty one makes security optional."""

_HEADERS: Final[Mapping[str, tuple[str, Schema]]] = {
    "Cache-Control": ("How long the response may be cached.", {"type": "string"}),
    "ETag": ("For If-None-Match (RFC 9110 section 8.8.3).", {"type": "string"}),
    "Location": (
        "The redirect target (RFC 9110 section 10.2.2).",
        {"type": "string", "format": "uri-reference"},
    ),
    "Retry-After": ("Seconds to wait (RFC 9110 section 10.2.3).", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("The required authentication (RFC 9110 section 11.6.1).", {"type": "string"}),
}
_REQUEST_ID: Final = {
    "description": "Identifies the request in the log.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}


@dataclass(frozen=True, slots=True)
class ResponseObject:
    """A response of an operation.

    Args:
        content: the schema of the body by media type; empty for a response without a body.
        headers: the headers that the response always has.
        checks: the checks whose failure leads to this response.
    """

    status: int
    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """The behavior of a route for one method.

    Args:
        parameters: Parameter Objects; those of the path are added.
        form: the schema of a form in the body.
        extensions: members whose names begin with `x-`.
        json: the schema of a JSON body.
    """

    summary: str
    responses: tuple[ResponseObject, ...]
    parameters: tuple[Schema, ...] = ()
    form: Schema | None = None
    security: Security = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)
    json: Schema | None = None


Operations = Mapping[tuple[str, str], Operation]
"""Operations by the name of the route and the method."""


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a service, apart from its routes; `server` is its public URL."""

    title: str
    text: str
    server: str
    operations: Operations
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    security_schemes: Mapping[str, Schema] = field(default_factory=dict)


def string(**more: Any) -> Schema:
    """Return the schema of a string."""
    return {"type": "string", **more}


def closed(properties: Mapping[str, Schema], *, optional: Iterable[str] = ()) -> Schema:
    """Return the schema of an object that has these members and no others."""
    required = [name for name in properties if name not in {*optional}]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def ref(name: str) -> Schema:
    """Return a reference to a schema of the description."""
    return {"$ref": f"#/components/schemas/{name}"}


def error_body(*errors: str) -> Schema:
    """Return the schema of an error response (RFC 6749 section 5.2)."""
    description = string(pattern=r"^[\x20\x21\x23-\x5b\x5d-\x7e]*$")
    return closed({"error": string(enum=sorted({*errors})), "error_description": description})


def json_response(description: str, schema: Schema, *headers: str, status: int = 200) -> ResponseObject:
    """Describe a JSON response."""
    return ResponseObject(status, description, {JSON: schema}, headers)


def html(status: int, description: str, *headers: str, checks: tuple[Check, ...] = ()) -> ResponseObject:
    """Describe an HTML page."""
    return ResponseObject(status, description, {HTML: string()}, headers, checks)


def redirect(description: str, *checks: Check) -> ResponseObject:
    """Describe a redirect that the browser follows with GET."""
    return ResponseObject(303, description, {HTML: string()}, ("Location",), checks)


def error_responses(*checks: Check, headers: Mapping[int, tuple[str, ...]]) -> tuple[ResponseObject, ...]:
    """Describe the JSON error responses of these checks, one for each status.

    Args:
        headers: the headers for each status.
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
    """Describe the 503 response for an unavailable dependency, and the checks that lead to it."""
    text = "A dependency of this service is unavailable; the request may be repeated."
    content = {HTML: string()} if kind == "page" else {JSON: error_body("temporarily_unavailable")}
    return ResponseObject(503, text, content, ("Retry-After",), checks)


NOT_MODIFIED: Final = ResponseObject(304, "The current version matches If-None-Match.", headers=("ETag",))
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of a cached version (RFC 9110 section 13.1.2).",
    "schema": string(),
}

_COMMON_OPERATIONS: Final[Operations] = {
    ("openapi", "GET"): Operation(
        "OpenAPI description",
        (json_response("The description.", {"type": "object"}, "ETag"), NOT_MODIFIED),
        (IF_NONE_MATCH,),
    ),
    ("healthz", "GET"): Operation(
        "Liveness check", (json_response("The process is running.", closed({"status": string(const="ok")})),)
    ),
    ("readyz", "GET"): Operation(
        "Readiness check",
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
            for status, word, description in (
                (200, "ready", "All dependencies are available."),
                (503, "not ready", "A dependency is unavailable."),
            )
        ),
    ),
}


def openapi() -> ResponseReturnValue:
    """Serve the description built by `publish`."""
    described: Document = current_app.extensions["rolecall_openapi"]
    return described.response()


ROUTE: Final = Route("openapi", "/openapi.json", ("GET",), openapi, "api", "none: OpenAPI 3.1")


def publish(app: Flask, description: Description) -> None:
    """Build the document from the application's routes; `ROUTE` serves it."""
    text = json.dumps(document(description, app.extensions["rolecall_routes"]), separators=(",", ":"))
    app.extensions["rolecall_openapi"] = Document.of(text, JSON, MAX_AGE)


def document(description: Description, routes: Iterable[Route]) -> dict[str, Any]:
    """Build the OpenAPI Object. Routes without a description are omitted; a contract test fails if there are any."""
    operations = {**_COMMON_OPERATIONS, **description.operations}
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


_TAGS: Final[Mapping[Kind, str]] = {"api": "API", "page": "Pages"}


def path_template(route: Route) -> str:
    """Return the path of a route in the syntax of OpenAPI."""
    return re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.path)


def _operation(route: Route, method: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}-{route.name}",
        "summary": operation.summary,
        "tags": [_TAGS[route.kind]],
        "parameters": [*_path_parameters(route), *operation.parameters],
        "responses": {
            str(response.status): _response(response)
            for response in (*operation.responses, *_body_errors(route.kind, method))
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
    names: list[tuple[str, str]] = re.findall(r"<(path:)?(\w+)>", route.path)
    segment = "[^/]+"
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": string(pattern=f"^{segment}(/{segment})*$" if is_path else f"^{segment}$"),
        }
        for is_path, name in names
    ]


def _body_errors(kind: Kind, method: str) -> list[ResponseObject]:
    """Describe the error for bodies that are rejected before any view (RFC 9110 section 15.5.14)."""
    if method == "GET":
        return []
    content = {HTML: string()} if kind == "page" else {JSON: error_body("invalid_request")}
    return [ResponseObject(413, f"The body is longer than {MAX_REQUEST_BODY} bytes.", content)]


def _response(response: ResponseObject) -> dict[str, Any]:
    headers = {
        name: {"description": _HEADERS[name][0], "required": True, "schema": _HEADERS[name][1]}
        for name in ("Cache-Control", *response.headers)
    }
    described: dict[str, Any] = {
        "description": response.description,
        "headers": {**headers, "X-Request-Id": _REQUEST_ID},
    }
    if response.content:
        described["content"] = {media_type: {"schema": schema} for media_type, schema in response.content.items()}
    if response.checks:
        described["x-checks"] = [
            {"name": check.name, "clause": check.clause, "error": check.error, "description": check.description}
            for check in response.checks
        ]
    return described

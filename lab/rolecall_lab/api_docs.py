"""/docs on each service of the lab: its OpenAPI description as a page, read from what /openapi.json answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, render_template
from flask.typing import ResponseReturnValue

PATH: Final = "/docs"

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Field:
    """A row of an operation's table: a parameter, where it stands, what it may be, and what defines it.

    `value` is what a command sends: its only one, or a variable of the shell.
    """

    name: str
    value: str
    place: str
    required: bool
    may_be: str
    grammar: str
    description: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One way to ask: an operation, or one of the grants of the token endpoint (`title`), with a command to try it."""

    title: str
    fields: list[Field]
    curl: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One of an operation's answers; `bodies` are (media type, JSON Schema as text)."""

    status: str
    phrase: str
    description: str
    headers: list[str]
    bodies: list[tuple[str, str]]
    checks: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Operation:
    """A card of the page."""

    method: str
    path: str
    anchor: str
    summary: str
    clause: str
    proof: str
    ways: list[Shown]
    answers: list[Answer]


def show(app: Flask) -> None:
    """Add the page to a service's application; its template has to be found by it."""
    document: dict[str, Any] = json.loads(app.extensions["rolecall_openapi"][0])
    groups = {tag["name"]: list(_operations(document, tag["name"])) for tag in document["tags"]}

    def docs() -> ResponseReturnValue:
        return render_template("lab/api_docs.html", info=document["info"], groups=groups)

    app.add_url_rule(PATH, "docs", docs)
    app.extensions["rolecall_kinds"]["docs"] = "page"


def _operations(document: dict[str, Any], tag: str) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if tag not in operation["tags"]:
                continue
            yield Operation(
                method=method.upper(),
                path=path,
                anchor=operation["operationId"],
                summary=operation["summary"],
                clause=operation["x-clause"].removeprefix("none: "),
                proof=_proof(operation),
                ways=[_way(document, method.upper(), path, operation, body) for body in _bodies(operation)],
                answers=[_answer(document, *each) for each in sorted(operation["responses"].items())],
            )


def _proof(operation: dict[str, Any]) -> str:
    """How whoever asks shows who they are."""
    if methods := operation.get("x-client-authentication"):
        return f"Who asks proves it with {' or '.join(methods)}."
    schemes = _schemes(operation)
    if "bearer" in schemes:
        return f"Who asks shows an access token with the scope {' '.join(schemes['bearer'])}."
    return "A browser shows its session's cookie, if it has one." if "session" in schemes else ""


def _schemes(operation: dict[str, Any]) -> dict[str, list[str]]:
    return {name: scopes for each in operation.get("security", ()) for name, scopes in each.items()}


def _bodies(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a request's body may have; an empty one where it has none."""
    [content] = operation.get("requestBody", {}).get("content", {"": {"schema": {}}}).values()
    return list(content["schema"].get("oneOf", [content["schema"]]))


def _way(document: dict[str, Any], method: str, path: str, operation: dict[str, Any], body: dict[str, Any]) -> Shown:
    fields = [_field(each["name"], each["in"], each.get("required", False), each) for each in operation["parameters"]]
    fields += [
        _field(name, "body", name in body.get("required", ()), {"schema": schema})
        for name, schema in body.get("properties", {}).items()
    ]
    url = document["servers"][0]["url"] + path
    return Shown(body.get("title", ""), fields, _curl(method, url, fields, _schemes(operation)))


def _field(name: str, place: str, required: bool, described: dict[str, Any]) -> Field:
    schema = described["schema"]
    description = described.get("description") or schema.get("description", "")
    return Field(
        name=name,
        value=schema.get("const", f"${name.upper()}"),
        place=place,
        required=required,
        may_be=_may_be(schema),
        grammar=schema.get("pattern", ""),
        description=description.removeprefix("none: "),
    )


def _may_be(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return " or ".join(schema["enum"])
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if most is None:
        return "text"
    return f"text of {least} to {most} characters" if least > 1 else f"text, up to {most} characters"


def _curl(method: str, url: str, fields: list[Field], schemes: dict[str, list[str]]) -> str:
    """A command with all that a program of its own would send; what is to be filled in is a variable of the shell."""
    proof = []
    if "client_secret_basic" in schemes:
        proof = ['-u "$CLIENT_ID:$CLIENT_SECRET"']
        fields = [each for each in fields if each.name not in {"client_id", "client_secret"}]
    elif "bearer" in schemes:
        proof = ['-H "Authorization: Bearer $TOKEN"']
    elif "session" in schemes:
        proof = ['-b "$COOKIES"']
    for each in fields:
        url = url.replace(f"{{{each.name}}}", each.value)
    query = "&".join(
        f"{each.name}={each.value}" for each in fields if each.place == "query" and each.name != "interaction"
    )
    body = [f'-d "{each.name}={each.value}"' for each in fields if each.place == "body" and each.name != "interaction"]
    post = ["-X", method] if method != "GET" and not body else []
    return " ".join(["curl", "-i", *post, f'"{url}?{query}"' if query else f'"{url}"', *proof, *body])


def _answer(document: dict[str, Any], status: str, response: dict[str, Any]) -> Answer:
    phrase = HTTPStatus(int(status)).phrase
    description = "" if response["description"] == phrase else response["description"]
    bodies = [
        (media_type, json.dumps(_resolved(document, content["schema"]), indent=2) if "json" in media_type else "")
        for media_type, content in response.get("content", {}).items()
    ]
    return Answer(status, phrase, description, list(response["headers"]), bodies, response.get("x-checks", []))


def _resolved(document: dict[str, Any], schema: Any) -> Any:
    """A schema with what it refers to in its place."""
    if isinstance(schema, list):
        return [_resolved(document, each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return {name: _resolved(document, value) for name, value in schema.items()}

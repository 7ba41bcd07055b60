"""Validation of every response of an application against the description that it publishes."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Final

import jsonschema_rs
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from rolecall import checks, events

SUMS_UP: Final = frozenset({"parameters", "token.cache"})
"""Checks that only summarize or repeat the result of other checks."""

KEEPS_METADATA: Final = frozenset({"metadata.issuer", "client.metadata_issuer"})
"""Checks whose failure keeps the earlier metadata in use."""

CHECKS_MADE: Final = "checks_made"
"""The extension that collects the checks that each operation made, while it is present."""

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass
class Document:
    """A service's description, and the responses seen so far, by operation and status."""

    content: dict[str, Any]
    seen: set[tuple[str, int]] = field(default_factory=set)

    def operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Return the operations by method, in upper case, and path."""
        return {
            (method.upper(), path): item[method]
            for path, item in self.content["paths"].items()
            for method in METHODS
            if method in item
        }

    def answers(self) -> set[tuple[str, int]]:
        return {
            (operation["operationId"], int(status))
            for operation in self.operations().values()
            for status in operation["responses"]
        }

    def checks(self) -> set[tuple[str, str]]:
        """Return pairs of an operation and a check that the description of one of its responses names."""
        return {
            (operation["operationId"], check["name"])
            for operation in self.operations().values()
            for answer in operation["responses"].values()
            for check in answer.get("x-checks", ())
        }

    def limits(self) -> set[tuple[str, str]]:
        """Return pairs of an operation and the setting of a limit, which the description of its 429 or 503 names."""
        return {
            (operation["operationId"], setting)
            for operation in self.operations().values()
            for status in ("429", "503")
            for setting in re.findall(
                r"\b[A-Z_]+_LIMIT\b", operation["responses"].get(status, {}).get("description", "")
            )
        }

    def hold(self, response: TestResponse) -> None:
        """Fail unless the response matches the description."""
        method, path = response.request.method, response.request.path
        operation = self.operation(method, path)
        if operation is None:
            return
        here = f"{method} {path}: {response.status}"
        described = operation["responses"].get(str(response.status_code))
        assert described is not None, f"{here} is not described"
        for name, header in described["headers"].items():
            assert name in response.headers, f"{here} has no {name}"
            self._validate(header["schema"], _value(header["schema"], response.headers[name]), f"{here} {name}")
        content = described.get("content")
        if content is None or (response.location and not response.data):
            assert not response.data, f"{here} has a body"
            assert "Content-Type" not in response.headers, f"{here} has the type of a body"
        else:
            assert response.mimetype in content, f"{here} is {response.mimetype}"
            if response.is_json:
                self._validate(content[response.mimetype]["schema"], response.json, here)
        self.seen.add((operation["operationId"], response.status_code))

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        for (each, template), operation in sorted(self.operations().items(), key=lambda item: "{" in item[0][1]):
            pattern = "".join(
                "(.+)" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{\w+\})", template)
            )
            if each == method and re.fullmatch(pattern, path):
                return operation
        return None

    def _validate(self, schema: dict[str, Any], value: Any, here: str) -> None:
        whole = {"components": self.content["components"], **schema}
        error = next(jsonschema_rs.Draft202012Validator(whole).iter_errors(value), None)
        assert error is None, f"{here}: {error}"


def refusals_described(app: Flask) -> None:
    """From now on, fail if a check refuses a request and the description of the response does not name the check."""
    inner = app.wsgi_app
    document = Document(json.loads(app.extensions["rolecall_openapi"].body))

    def outer(environ: Any, start_response: Any) -> Any:
        if events._notebook.get() is not None:  # the test reads the notes itself
            return inner(environ, start_response)
        statuses: list[int] = []

        def started(status: str, *more: Any) -> Any:
            statuses.append(int(status[:3]))
            return start_response(status, *more)

        with events.watching(events.Notebook()) as notebook:
            body = inner(environ, started)
        made = [note for note in notebook.notes if note["kind"] == "check"]
        refused = [note["name"] for note in made if not note["passed"] and _refuses(app, note["name"], statuses[-1])]
        if not refused and CHECKS_MADE not in app.extensions:
            return body
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        operation = document.operation(method, path)
        if operation is None:
            return body
        if CHECKS_MADE in app.extensions:
            app.extensions[CHECKS_MADE] |= {(operation["operationId"], note["name"]) for note in made}
        named = {check["name"] for check in operation["responses"].get(str(statuses[-1]), {}).get("x-checks", ())}
        assert {*refused[-1:]} <= named, f"{method} {path}: {statuses[-1]} does not name the check {refused[-1]}"
        return body

    app.wsgi_app = outer  # type: ignore[method-assign]


def _refuses(app: Flask, name: str, status: int) -> bool:
    """Return whether a failed check of the service, not of the lab, explains this response."""
    check = checks.registry[name]
    if name in SUMS_UP or (status < 400 and name in KEEPS_METADATA):
        return False
    if status == 429 or (status == 503 and check.status != 503):  # a limit or an outage came after the check
        return False
    return check in checks.defined_in(sys.modules[app.import_name])


def watched(app: Flask, seen: set[tuple[str, int]] | None = None) -> Document:
    """Validate every response to the application's test clients against its description."""
    content = app.test_client().get("/openapi.json").json
    assert content is not None
    document = Document(content, set() if seen is None else seen)

    class Holding(FlaskClient):
        def open(self, *args: Any, **more: Any) -> TestResponse:
            response = super().open(*args, **more)
            document.hold(response)
            return response

    app.test_client_class = Holding
    return document


def fetched_twice(app: Flask, *paths: str) -> None:
    """Fetch documents, and fetch those with an ETag again, conditionally (RFC 9110 section 13.1.2)."""
    client = app.test_client()
    for path in paths:
        answer = client.get(path)
        if tag := answer.headers.get("ETag"):
            assert client.get(path, headers={"If-None-Match": tag}).status_code == 304


def _value(schema: dict[str, Any], text: str) -> Any:
    return int(text) if schema["type"] == "integer" else text

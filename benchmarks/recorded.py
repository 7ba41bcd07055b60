"""The authorization server with the recorder around it, in one process; measures what `recorder.py` asks for."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from flow import FORM_TYPE, Page, Party, basic
from werkzeug.test import Client, EnvironBuilder

from rolecall_lab.wsgi import auth_app


class Measured:
    """The service, and the requests of each kind."""

    def __init__(self) -> None:
        app = auth_app()
        self.recorded = app.wsgi_app
        self.lab = app.extensions["rolecall_lab"]
        self.plain = self.lab._app
        secrets = os.environ["CLIENT_SECRET"], os.environ["RESOURCE_SECRET"]
        party = Party("http://localhost:8001", "http://localhost:8000", secrets[0])
        browser = Client(app)

        def visit(url: str, form: dict[str, str] | None, headers: Mapping[str, str]) -> Page:
            response = browser.open(
                url.removeprefix(party.auth),
                party.auth,
                method="POST" if form else "GET",
                data=form,
                headers={**headers, "Sec-Fetch-Site": "same-origin"},
            )
            return Page(response.status_code, response.location, response.text)

        tokens = party.tokens("invoices:read", visit)
        self.party, self.refresh_token = party, tokens["refresh_token"]
        invoices = basic("invoices-api", secrets[1])
        self.environs = {
            "introspection": environ("/introspect", invoices, {"token": tokens["access_token"]}),
            "token (refresh)": environ("/token", party.credentials, {}),
            "key set": environ("/jwks", {}, None),
            "page": environ("/sign-in", {}, None),
        }

    def cost(self, kind: str, number: int) -> float:
        """Return the processor time of the recorder for one exchange, in seconds."""
        return self.used(kind, number, self.recorded) - self.used(kind, number, self.plain)

    def used(self, kind: str, number: int, app: Any) -> float:
        """Return the processor time of this process for one of `number` requests, in seconds."""
        self.lab.recorder.flush(10)
        began = time.process_time()
        for _ in range(number):
            self.call(kind, app)
        if not self.lab.recorder.flush(30):
            raise RuntimeError("the recorder does not keep up")
        return (time.process_time() - began) / number

    def call(self, kind: str, app: Any) -> None:
        sent = dict(self.environs[kind])
        body = sent.pop("body")
        if kind == "token (refresh)":
            body = urlencode({"grant_type": "refresh_token", "refresh_token": self.refresh_token}).encode()
            sent["CONTENT_LENGTH"] = str(len(body))
        sent["wsgi.input"] = io.BytesIO(body)
        statuses: list[str] = []

        def start(status: str, *_rest: object) -> None:
            statuses.append(status)

        response: Iterable[bytes] = app(sent, start)
        text = b"".join(response)
        if hasattr(response, "close"):
            response.close()
        if statuses != ["200 OK"]:
            raise RuntimeError(f"{kind}: {statuses} {text.decode()[:300]}")
        if kind == "token (refresh)":
            self.refresh_token = json.loads(text)["refresh_token"]


def environ(path: str, headers: Mapping[str, str], form: dict[str, str] | None) -> dict[str, Any]:
    """Return the WSGI environment of a request as a program or a browser sends it, with the body as `body`."""
    body = urlencode(form).encode() if form is not None else b""
    usual = {"User-Agent": "rolecall-benchmark/1", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
    builder = EnvironBuilder(
        path,
        "http://localhost:8001",
        method="GET" if form is None else "POST",
        headers={**usual, **headers},
        data=body or None,
        content_type=None if form is None else FORM_TYPE,
    )
    return {**builder.get_environ(), "body": body}


def main() -> None:
    measured = Measured()
    for line in sys.stdin:
        question = json.loads(line)
        answer = list(measured.environs) if "kinds" in question else measured.cost(question["kind"], question["number"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

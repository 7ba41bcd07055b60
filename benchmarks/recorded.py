"""The authorization server with the recorder around it, in one process; measures what `recorder.py` asks for."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flow import FORM_TYPE, Page, Party, basic
from werkzeug.test import Client, EnvironBuilder

from rolecall import events
from rolecall_lab.wsgi import auth_app

REPLAYS = 200
"""The number of different exchanges, for the kind in which all are different: more than the recorder keeps parts of."""


@dataclass(frozen=True)
class Replay:
    """An application that only repeats the response to one request, and the notes of the service about it."""

    environ: dict[str, Any]
    body: bytes
    notes: list[dict[str, Any]]
    status: str
    headers: list[tuple[str, str]]
    response: bytes

    def __call__(self, _environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        for note in self.notes:
            events.note(**note)
        start_response(self.status, self.headers)
        return [self.response]

    def request(self) -> dict[str, Any]:
        return {**self.environ, "wsgi.input": io.BytesIO(self.body)}


class Measured:
    """The recorder of a service, and exchanges of each kind, which the service itself has served before."""

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
        invoices = basic("invoices-api", secrets[1])
        refreshes = []
        for _ in range(REPLAYS):
            form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
            refreshes.append(self.served("/token", party.credentials, form))
            tokens = json.loads(refreshes[-1].response)
        self.kinds = {
            "introspection": [self.served("/introspect", invoices, {"token": tokens["access_token"]})],
            "token (refresh)": refreshes,
            "key set": [self.served("/jwks", {}, None)],
            "page": [self.served("/sign-in", {}, None)],
        }

    def served(self, path: str, headers: Mapping[str, str], form: dict[str, str] | None) -> Replay:
        """Let the service serve a request, and return what is needed to repeat that."""
        sent, body = environ(path, headers, form)
        started: list[Any] = []
        with events.watching(events.Notebook()) as notebook:
            response: Any = self.plain({**sent, "wsgi.input": io.BytesIO(body)}, lambda *args: started.extend(args))
            text = b"".join(response)
            getattr(response, "close", lambda: None)()
        if not started[0].startswith("200"):
            raise RuntimeError(f"{path}: {started[0]} {text.decode()[:300]}")
        notes = [note for note in notebook.notes if note["kind"] != "sent"]
        return Replay(sent, body, notes, started[0], started[1], text)

    def both(self, kind: str, number: int) -> tuple[float, float]:
        """Return the processor time of one of `number` exchanges with and without the recorder, in seconds."""
        return self.used(kind, number, recorded=True), self.used(kind, number, recorded=False)

    def used(self, kind: str, number: int, *, recorded: bool) -> float:
        replays = self.kinds[kind]
        self.lab.recorder.flush(10)
        began = time.process_time()
        for _ in range(number):
            replay = replays[0]
            if len(replays) > 1:
                replays.append(replays.pop(0))
            self.lab._app = replay
            response: Any = (self.recorded if recorded else replay)(replay.request(), lambda *_: None)
            b"".join(response)
            if recorded:
                response.close()
        if not self.lab.recorder.flush(30):
            raise RuntimeError("the recorder does not keep up")
        return (time.process_time() - began) / number


def environ(path: str, headers: Mapping[str, str], form: dict[str, str] | None) -> tuple[dict[str, Any], bytes]:
    """Return the WSGI environment of a request as a program or a browser sends it, and its body."""
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
    return builder.get_environ(), body


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the service logs there
    measured = Measured()
    for line in sys.stdin:
        question = json.loads(line)
        answer = list(measured.kinds) if "kinds" in question else measured.both(question["kind"], question["number"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

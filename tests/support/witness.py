"""A collection of every secret that the test run sends or receives, and of every line that it logs."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus

import werkzeug.test

from rolecall.logs import formatter

LEAST: Final = 10
"""The minimum length of a secret in characters; shorter values may be in a log by chance."""

_NAMES: Final = (
    r"code|code_verifier|token|\w+_token|interaction|client_secret|client_assertion|request|id_token_hint|\w*password"
)
_IN_FORM: Final = re.compile(rf"(?:^|[?&])(?:{_NAMES})=([^&\s]+)")
_IN_JSON: Final = re.compile(rf'"(?:{_NAMES})"\s*:\s*"([^"]+)"')
_WORD: Final = re.compile(rf"[A-Za-z0-9_-]{{{LEAST},}}")
_LOOKS_SECRET: Final = re.compile(
    r"(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*[0-9])[\w-]{43}(?![\w-])|eyJ[\w-]+\.eyJ[\w-]+"
)
"""A JWT, or 256 random bits in base64url, like all our secrets."""
_KEY_IDS: Final = re.compile(r'"kids?": ("[^"]*"|\[[^\]]*\])')
"""Key IDs are hashes of the same length as our secrets (RFC 7638)."""
_CLIENT_ID: Final = re.compile(r'"client_id": "[^"]*"')
"""Another provider's client IDs may be as long as our secrets."""

seen: Final[set[str]] = set()
lines: Final[list[str]] = []
folders: Final[list[Path]] = []
"""The folders of running stacks; each has a folder `logs`."""


def watch() -> None:
    """Start to collect secrets and log lines."""
    _watch_test_clients()
    _watch_connections()
    _watch_logging()


def logged_in(folder: Path) -> Iterator[str]:
    """Yield the log lines of a stack."""
    for file in folder.glob("logs/*"):
        yield from file.read_text(errors="replace").splitlines()


def leaks(lines: Iterator[str]) -> list[tuple[str, str]]:
    """Return the lines that contain a seen secret, or a value that looks like a secret, each after its secret."""
    words = {word for secret in seen for word in _words(secret)}
    phrases = [secret for secret in seen if len(secret) >= LEAST and _is_varied(secret) and not _words(secret)]
    found = []
    for line in (_KEY_IDS.sub("", line) for line in lines):
        held = [match[0] for match in _LOOKS_SECRET.finditer(_CLIENT_ID.sub("", line))]
        held += words.intersection(_WORD.findall(line))
        held += [phrase for phrase in phrases if phrase in line]
        if held:
            found.append((held[0], line))
    return found


def take_headers(headers: Mapping[str, str] | list[tuple[str, str]]) -> None:
    """Collect the secrets in a message's headers."""
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        match name.lower():
            case "authorization":
                scheme, _, credentials = value.partition(" ")
                seen.add(credentials)
                if scheme.lower() == "basic":
                    seen.update(_of_basic(credentials))
            case "cookie" | "set-cookie":
                pairs = value.split(";") if name.lower() == "cookie" else [value.partition(";")[0]]
                seen.update(pair.partition("=")[2].strip() for pair in pairs)
            case "location":
                take_text(value)


def take_text(text: str) -> None:
    """Collect the secrets in a URL, a form, or a JSON body."""
    seen.update(unquote_plus(value) for value in _IN_FORM.findall(text))
    seen.update(_IN_JSON.findall(text))


def _words(secret: str) -> list[str]:
    """Return the parts of a value that identify it; omits the header of a JWT, because many JWTs have the same."""
    found = _WORD.findall(secret)
    mixed = [word for word in found if re.search(r"[A-Z0-9]", word) and _is_varied(word)]
    return mixed[1:] if secret.startswith("eyJ") else mixed


def _is_varied(text: str) -> bool:
    return len({*text}) > LEAST // 2


def _of_basic(credentials: str) -> list[str]:
    try:
        return [unquote_plus(base64.b64decode(credentials).decode().partition(":")[2])]
    except ValueError:
        return []


def watch_browser(browser: Any) -> None:
    """Also collect the requests of a real browser, and its final cookies."""
    new_context = browser.new_context

    def new_context_watched(**options: Any) -> Any:
        context = new_context(**options)
        close = context.close

        def close_watched() -> None:
            seen.update(cookie["value"] for cookie in context.cookies())
            close()

        context.on("request", _take_request)
        context.close = close_watched
        return context

    browser.new_context = new_context_watched


def _take_request(request: Any) -> None:
    take_text(request.url)
    body = request.post_data_buffer
    if body:
        take_text(body.decode("latin-1"))


def _watch_test_clients() -> None:
    plain = werkzeug.test.Client.open

    def open_watched(self: Any, *args: Any, **more: Any) -> Any:
        response = plain(self, *args, **more)
        take_headers([*response.request.headers.items(), *response.headers.items()])
        take_text(response.request.url)
        data = more.get("data")
        if isinstance(data, Mapping):
            take_text(json.dumps({str(name): str(value) for name, value in data.items()}))
        elif isinstance(data, str | bytes):
            take_text(data if isinstance(data, str) else data.decode(errors="replace"))
        if response.is_json and not response.is_streamed:
            take_text(response.get_data(as_text=True))
        return response

    werkzeug.test.Client.open = open_watched  # type: ignore[method-assign]


def _watch_connections() -> None:
    """Watch `http.client`, which is below every HTTP library that the tests use."""
    connection, answer = http.client.HTTPConnection, http.client.HTTPResponse
    send, begin, read = connection.send, answer.begin, answer.read

    def send_watched(self: Any, data: Any) -> None:
        if isinstance(data, bytes):
            head, _, body = data.decode("latin-1").partition("\r\n\r\n")
            first, *headers = head.split("\r\n")
            take_text(first)
            take_text(body or first)
            take_headers([(name, value.strip()) for name, _, value in (each.partition(":") for each in headers)])
        send(self, data)

    def begin_watched(self: Any) -> None:
        begin(self)
        take_headers(self.headers.items() if self.headers else [])

    def read_watched(self: Any, *args: Any) -> bytes:
        body = read(self, *args)
        if body.startswith(b"{"):
            take_text(body.decode("latin-1"))
        return body

    connection.send = send_watched  # type: ignore[method-assign]
    answer.begin, answer.read = begin_watched, read_watched  # type: ignore[method-assign]


def _watch_logging() -> None:
    """Watch the logging below every handler that tests add and remove."""
    form, plain = formatter("tests"), logging.Logger.handle

    def handle_watched(self: logging.Logger, record: logging.LogRecord) -> None:
        if self.name != "werkzeug":  # the server of some tests, which the product does not use
            lines.append(form.format(logging.makeLogRecord(record.__dict__)))
        plain(self, record)

    logging.Logger.handle = handle_watched  # type: ignore[method-assign]

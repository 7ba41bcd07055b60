"""A flow as curl commands: each request as it was sent, with variables for what is secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote
from typing import Any, Final
from urllib.parse import quote as percent_encoded
from urllib.parse import quote_plus, urlencode

from rolecall_lab.observer.picture import NAMES
from rolecall_lab.observer.texts import pairs, text_of
from rolecall_lab.recorder import paired

_LEFT_OUT: Final = frozenset({"host", "content-length", "cookie", "authorization", "traceparent", "origin"})
_HIDDEN: Final = "(hidden)"


def write(events: list[dict[str, Any]]) -> str:
    """A shell script; CLIENT_SECRET and what else was never recorded are to be filled in first."""
    lines = [
        "#!/bin/sh",
        "# Every request of the flow, in its order. Codes and most tokens work once, or not for long.",
        "set -eu",
        ': "${CLIENT_SECRET:=}" "${RESOURCE_SECRET:=}" "${HIDDEN:=}"',
    ]
    for number, event in enumerate((each for each in paired(events) if not each.get("shadowed")), 1):
        answer = "no answer" if event["status"] is None else f"answered {event['status']}"
        lines += ["", f"# {number}  {NAMES[event['from']][0]} to {NAMES[event['to']][0]}: {answer}"]
        if event["channel"] == "front":
            lines.append("# (a browser sent it; its cookies were not recorded)")
        lines.append(command(event))
    return "\n".join(lines) + "\n"


def command(event: dict[str, Any]) -> str:
    """One request as a command for a POSIX shell; marks are written as they are."""
    return " \\\n  ".join(_parts(event))


def url(event: dict[str, Any]) -> str:
    """Where a request went; what cannot stand in a URL is percent-encoded (RFC 3986 section 2.1)."""
    query = urlencode(pairs(event["query"]), errors="replace")
    host = percent_encoded(event["host"], safe=":[]", errors="replace")
    # what a service sent was recorded as it was, percent signs and all
    path = percent_encoded(event["path"], safe="/%:@!$&'()*+,;=~", errors="replace")
    return f"http://{host}{path}{'?' + query if query else ''}"


def _parts(event: dict[str, Any]) -> Iterator[str]:
    yield "curl -i"
    method = re.sub(r"[^A-Za-z]", "", event["method"]) or "GET"
    if method == "HEAD":
        yield "--head"  # with -X it would wait for the body
    elif method != ("POST" if event["form"] else "GET"):
        yield f"-X {method}"
    if "[" in event["host"]:
        yield "-g"  # or curl takes what is in brackets for several addresses
    for name, value in event["request_headers"].items():
        if name not in _LEFT_OUT and not (name == "content-type" and event["form"]):
            yield f"-H {_quoted(f'{name}: {text_of(value)}')}"
    if (authorization := event["request_headers"].get("authorization")) is not None:
        yield from _authorization(event, authorization)
    for name, value in pairs(event["form"]):
        yield f"--data-urlencode {_hidden(name, value)}"
    yield _quoted(url(event))


def _authorization(event: dict[str, Any], authorization: Any) -> Iterator[str]:
    if isinstance(authorization, dict) and str(authorization.get("scheme", "")).lower() == "basic":
        secret = "RESOURCE_SECRET" if event["from"] == "resource_server" else "CLIENT_SECRET"
        # form-encoded (RFC 6749 section 2.3.1): a colon in it would end it
        user = quote_plus(str(authorization.get("client_id", "")), errors="replace")
        yield f'-u {_quoted(user)}:"${secret}"'
    elif isinstance(authorization, dict) and "token" in authorization:
        yield f"-H {_quoted('authorization: ' + text_of(authorization))}"


def _hidden(name: str, value: str) -> str:
    name = quote_plus(name, errors="replace")  # curl encodes only the value
    return f'{_quoted(name)}="$HIDDEN"' if value == _HIDDEN else _quoted(f"{name}={value}")


def _quoted(text: str) -> str:
    """A word of the shell, whatever is in it; NUL cannot be in one."""
    return quote("".join(each for each in text.encode("utf-8", "replace").decode() if each != "\x00"))

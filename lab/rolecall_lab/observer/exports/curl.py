"""A flow as curl commands: each request as it was sent, with variables for what is secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote
from typing import Any, Final
from urllib.parse import urlencode

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
        lines += ["", f"# {number}  {NAMES[event['from']][0]} to {NAMES[event['to']][0]}: answered {event['status']}"]
        if event["channel"] == "front":
            lines.append("# (a browser sent it; its cookies were not recorded)")
        lines.append(command(event))
    return "\n".join(lines) + "\n"


def command(event: dict[str, Any]) -> str:
    """One request as a command for a POSIX shell; marks are written as they are."""
    return " \\\n  ".join(_parts(event))


def _parts(event: dict[str, Any]) -> Iterator[str]:
    yield "curl -i"
    method = re.sub(r"[^A-Za-z]", "", event["method"]) or "GET"
    if method != ("POST" if event["form"] else "GET"):
        yield f"-X {method}"
    for name, value in event["request_headers"].items():
        if name not in _LEFT_OUT and not (name == "content-type" and event["form"]):
            yield f"-H {_quoted(f'{name}: {text_of(value)}')}"
    if (authorization := event["request_headers"].get("authorization")) is not None:
        yield from _authorization(event, authorization)
    for name, value in pairs(event["form"]):
        yield f"--data-urlencode {_hidden(name, value)}"
    query = urlencode(pairs(event["query"]), errors="replace")
    yield _quoted(f"http://{event['host']}{event['path']}{'?' + query if query else ''}")


def _authorization(event: dict[str, Any], authorization: Any) -> Iterator[str]:
    if isinstance(authorization, dict) and str(authorization.get("scheme", "")).lower() == "basic":
        secret = "RESOURCE_SECRET" if event["from"] == "resource_server" else "CLIENT_SECRET"
        yield f'-u {_quoted(str(authorization.get("client_id", "")))}:"${secret}"'
    elif isinstance(authorization, dict) and "token" in authorization:
        yield f"-H {_quoted('authorization: ' + text_of(authorization))}"


def _hidden(name: str, value: str) -> str:
    return f'{_quoted(name)}="$HIDDEN"' if value == _HIDDEN else _quoted(f"{name}={value}")


def _quoted(text: str) -> str:
    """A word of the shell, whatever is in it; NUL cannot be in one."""
    return quote("".join(each for each in text.encode("utf-8", "replace").decode() if each != "\x00"))

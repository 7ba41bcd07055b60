"""A flow as curl commands: each request as it was sent, with variables for what is secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from secrets import token_hex
from shlex import quote
from typing import Any, Final
from urllib.parse import quote as percent_encoded
from urllib.parse import quote_plus, urlencode

from rolecall_lab.observer.picture import NAMES, lay_out, title_of
from rolecall_lab.observer.texts import is_mark, is_text, pairs, text_of
from rolecall_lab.observer.values import MAY_SEE, marks, token_names
from rolecall_lab.recording.recorded_flow import Loss
from rolecall_lab.recording.values import HIDDEN

_LEFT_OUT: Final = frozenset({"host", "content-length", "cookie", "authorization", "traceparent", "origin"})
_HIDDEN: Final = "(hidden)"


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """A shell script: what is secret stands once at its top, to be filled in where it was masked or never recorded."""
    picture = lay_out(events, losses, omitted)
    steps = {row.number: row.step for row in picture.rows if row.kind == "request"}
    # a gap stands before the next request
    gaps: dict[int, list[str]] = {}
    number = len(picture.messages) + 1
    for row in reversed(picture.rows):
        number = row.number if row.kind == "request" else number
        if row.kind == "gap":
            gaps.setdefault(number, []).insert(0, f"# {_comment(row.text)}")
    variables = _Variables(picture.messages)
    commands = []
    for number, event in enumerate(picture.messages, 1):
        commands += [*_apart(gaps.get(number)), "", _told(number, steps[number], event), variables.used(event)]
    commands += _apart(gaps.get(len(picture.messages) + 1))
    return "\n".join(
        [
            "#!/bin/sh",
            "# Every request of the flow, in its order. Codes and most tokens work once, or not for long.",
            "# What a browser sent went with its cookies, which were not recorded.",
            "set -eu",
            ': "${CLIENT_SECRET:=}" "${RESOURCE_SECRET:=}" "${HIDDEN:=}"',
            *variables.assignments(),
            *commands,
            "",
        ]
    )


def _apart(lines: list[str] | None) -> list[str]:
    return ["", *lines] if lines else []


def _told(number: int, step: int, event: dict[str, Any]) -> str:
    """The line before a command: who asks whom, in which step, and what the receiver's checks are for."""
    answer = "no answer" if event["status"] is None else f"answered {event['status']}"
    clauses = [*dict.fromkeys(check["clause"] for check in event["checks"])]
    checked = f"; checked there: {_comment(', '.join(clauses))}" if clauses else ""
    ends = f"{NAMES[event['from']][0]} to {NAMES[event['to']][0]}"
    cut = f"; too long, and in part left out: {_comment(', '.join(event['cut']))}" if event.get("cut") else ""
    return f"# {number}  {ends}: {answer} ({f'step {step}: ' if step else ''}{title_of(step)}){checked}{cut}"


class _Variables:
    """The secrets of a flow as variables of the shell; stand-ins that nobody can guess hold their places meanwhile."""

    def __init__(self, messages: Sequence[dict[str, Any]]) -> None:
        known = token_names([*messages])
        self._names: dict[str, str] = {}
        self._marks: dict[str, dict[str, Any]] = {}
        self._encoded: set[tuple[str, str]] = set()
        taken: dict[str, int] = {}
        for message in messages:
            for place, mark in marks(message):
                if "shown" not in mark or mark["hash"] in self._names:
                    continue
                name = _variable(known.get(mark["hash"], place.name))
                taken[name] = taken.get(name, 0) + 1
                self._names[mark["hash"]] = name if taken[name] == 1 else f"{name}_{taken[name]}"
                self._marks[mark["hash"]] = mark
        # a tilde stays as it is in a URL, and makes the shell's word a quoted one
        self._stands = {key: f"~{token_hex(8)}" for key in self._names}

    def assignments(self) -> list[str]:
        """A line for each: its value, or that it has to be set; after `used`, which tells what URLs need."""
        # where others are whole, what is not was never recorded: it may stay empty, as passwords may
        whole = any("value" in mark for mark in self._marks.values())
        lines = []
        for key, name in self._names.items():
            mark = self._marks[key]
            if "value" not in mark and whole:
                lines.append(f': "${{{name}:=}}"')
                continue
            if "value" not in mark:
                lines.append(f': "${{{name}:?set it first: {_comment(mark["shown"])} is only its beginning}}"')
                continue
            lines.append(f"{name}={_quoted(mark['value'])}")
            lines += [
                f"{form}_{name}={_quoted(encoded(mark))}"
                for form, (_, encoded) in _FORMS.items()
                if (form, key) in self._encoded
            ]
        return lines

    def used(self, event: dict[str, Any]) -> str:
        """The command of a request with variables for what is secret."""
        there = {"query": self._stood(event["query"], "-"), "json": self._stood(event.get("json"), "_")}
        text = command(self._stood(event, ".") | there)
        for key, stand in self._stands.items():
            name = self._names[key]
            text = text.replace(f"{stand}.", f"""'"${name}"'""")
            for form, (end, encoded) in _FORMS.items():
                if f"{stand}{end}" not in text:
                    continue
                differs = encoded(self._marks[key]) != self._marks[key].get("value", "")
                self._encoded |= {(form, key)} if differs else set()
                text = text.replace(f"{stand}{end}", f"""'"${f"{form}_{name}" if differs else name}"'""")
        return text

    def _stood(self, value: Any, end: str) -> Any:
        if is_mark(value) and "shown" in value and value["hash"] in self._stands:
            return self._stands[value["hash"]] + end
        if isinstance(value, dict):
            return {key: self._stood(each, end) for key, each in value.items()}
        return [self._stood(each, end) for each in value] if isinstance(value, list) else value


def _variable(name: str) -> str:
    """What a value's variable is called; a name that the shell, or curl, may know (PATH, IFS) gets a beginning."""
    found = re.sub(r"[^A-Z]", "_", name.upper())[:40]
    return found if name in MAY_SEE else f"VALUE_{found}"


def _encoded(mark: dict[str, Any]) -> str:
    """As it stands in a URL's query; what was masked is taken to need nothing, as codes and tokens do not."""
    return quote_plus(mark.get("value", ""), errors="replace")


def _escaped(mark: dict[str, Any]) -> str:
    """As it stands within a text of JSON."""
    return json.dumps(mark.get("value", ""), ensure_ascii=False)[1:-1]


_FORMS: Final = {"ENCODED": ("-", _encoded), "JSON": ("_", _escaped)}
"""Where a value is written otherwise than it is: what its variable begins with, and the end of its stand-in."""


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
    elif method != ("POST" if event["form"] or event.get("json") is not None else "GET"):
        yield f"-X {method}"
    if "[" in event["host"]:
        yield "-g"  # or curl takes what is in brackets for several addresses
    for name, value in event["request_headers"].items():
        if name not in _LEFT_OUT and value != HIDDEN and not (name == "content-type" and event["form"]):
            yield f"-H {_quoted(f'{name}: {text_of(value)}')}"
    if (authorization := event["request_headers"].get("authorization")) is not None:
        yield from _authorization(event, authorization)
    for name, value in pairs(event["form"]):
        yield f"--data-urlencode {_hidden(name, value)}"
    if event.get("json") is not None:
        yield f"--data-binary {_json(event['json'])}"
    yield _quoted(url(event))


def _authorization(event: dict[str, Any], authorization: Any) -> Iterator[str]:
    if isinstance(authorization, dict) and str(authorization.get("scheme", "")).lower() == "basic":
        secret = "RESOURCE_SECRET" if event["from"] == "resource_server" else "CLIENT_SECRET"
        # form-encoded (RFC 6749 section 2.3.1): a colon in it would end it
        user = quote_plus(str(authorization.get("client_id", "")), errors="replace")
        yield f'-u {_quoted(user)}:"${secret}"'
    elif isinstance(authorization, dict) and "token" in authorization:
        yield f"-H {_quoted('authorization: ' + text_of(authorization))}"


def media_type(event: dict[str, Any]) -> str:
    """Of a request with JSON."""
    return text_of(event["request_headers"].get("content-type", "application/json"))


def as_sent(value: Any) -> Any:
    """JSON as it was sent, but for what was never recorded."""
    if isinstance(value, dict):
        return text_of(value) if is_text(value) else {name: as_sent(each) for name, each in value.items()}
    return [as_sent(each) for each in value] if isinstance(value, list) else value


def _json(value: Any) -> str:
    """A body as a word of the shell; a variable stands for each text in it that was never recorded."""
    variable = "'\"$HIDDEN\"'"
    return _quoted(json.dumps(as_sent(value), ensure_ascii=False)).replace(f'"{_HIDDEN}"', f'"{variable}"')


def _comment(text: str) -> str:
    """What may stand in one line of a comment, or in a message of the shell."""
    return re.sub(r"[^A-Za-z0-9 .,:;/_…-]", "", text)[:200]


def _hidden(name: str, value: str) -> str:
    name = quote_plus(name, errors="replace")  # curl encodes only the value
    return f'{_quoted(name)}="$HIDDEN"' if value == _HIDDEN else _quoted(f"{name}={value}")


def _quoted(text: str) -> str:
    """A word of the shell, whatever is in it; NUL cannot be in one."""
    return quote("".join(each for each in text.encode("utf-8", "replace").decode() if each != "\x00"))

"""A flow as a shell script of curl commands that repeat its requests, with variables for secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from secrets import token_hex
from shlex import quote
from typing import Any, Final
from urllib.parse import quote as percent_encoded
from urllib.parse import quote_plus, urlencode

from rolecall_lab.observer.picture import PARTIES, Picture, lay_out, step_title
from rolecall_lab.observer.texts import is_mark, is_text, pairs, text_of
from rolecall_lab.observer.values import MAY_SEE, marks, token_names
from rolecall_lab.recording.event import full_path
from rolecall_lab.recording.findings import HIDDEN
from rolecall_lab.recording.recorded_flow import Loss

_OMITTED_HEADERS: Final = frozenset({"host", "content-length", "cookie", "authorization", "traceparent", "origin"})
_HIDDEN: Final = "(hidden)"
_HIDDEN_VARIABLE: Final = "'\"$HIDDEN\"'"


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """Return a shell script that assigns each secret once, at the top.

    Secrets that are masked or were never recorded have to be filled in there.
    """
    picture = lay_out(events, losses, omitted)
    steps = {row.number: row.step for row in picture.rows if row.kind == "request"}
    gaps = _gap_comments(picture)
    variables = _Variables(picture.messages)
    commands = []
    for number, event in enumerate(picture.messages, 1):
        commands += [*_block(gaps.get(number)), "", _comment_line(number, steps[number], event)]
        commands.append(variables.command(event))
    commands += _block(gaps.get(len(picture.messages) + 1))
    return "\n".join(
        [
            "#!/bin/sh",
            "# All requests of the flow, in order. Codes can be used only once, and most tokens only for a short time.",
            "# A browser sends its requests with cookies, which were not recorded.",
            "set -eu",
            ': "${CLIENT_SECRET:=}" "${RESOURCE_SECRET:=}" "${HIDDEN:=}"',
            *variables.assignments(),
            *commands,
            "",
        ]
    )


def _gap_comments(picture: Picture) -> dict[int, list[str]]:
    """Return the comments about missing messages by the number of the request that follows them."""
    comments: dict[int, list[str]] = {}
    number = len(picture.messages) + 1
    for row in reversed(picture.rows):
        number = row.number if row.kind == "request" else number
        if row.kind == "gap":
            comments.setdefault(number, []).insert(0, f"# {_comment_text(row.text)}")
    return comments


def _block(lines: list[str] | None) -> list[str]:
    return ["", *lines] if lines else []


def _comment_line(number: int, step: int, event: dict[str, Any]) -> str:
    """Return the comment above a command: sender and receiver, the response, the step, and the receiver's checks."""
    response = "no response" if event["status"] is None else f"response {event['status']}"
    clauses = [*dict.fromkeys(check["clause"] for check in event["checks"])]
    checks = f"; checks: {_comment_text(', '.join(clauses))}" if clauses else ""
    parties = f"{PARTIES[event['from']][0]} to {PARTIES[event['to']][0]}"
    cut = f"; too long, partly omitted: {_comment_text(', '.join(event['cut']))}" if event.get("cut") else ""
    return f"# {number}  {parties}: {response} ({f'step {step}: ' if step else ''}{step_title(step)}){checks}{cut}"


class _Variables:
    """The secrets of a flow as shell variables.

    A command is first built with an unguessable placeholder for each secret, which is then replaced by the variable.
    """

    def __init__(self, messages: Sequence[dict[str, Any]]) -> None:
        token_kinds = token_names([*messages])
        self._names: dict[str, str] = {}
        self._marks: dict[str, dict[str, Any]] = {}
        self._used_forms: set[tuple[str, str]] = set()
        counts: dict[str, int] = {}
        for message in messages:
            for place, mark in marks(message):
                if "shown" not in mark or mark["hash"] in self._names:
                    continue
                name = _variable_name(token_kinds.get(mark["hash"], place.name))
                counts[name] = counts.get(name, 0) + 1
                self._names[mark["hash"]] = name if counts[name] == 1 else f"{name}_{counts[name]}"
                self._marks[mark["hash"]] = mark
        # A tilde is not encoded in URLs, and it makes `shlex.quote` put quotes around the word.
        self._placeholders = {key: f"~{token_hex(8)}" for key in self._names}

    def assignments(self) -> list[str]:
        """Return the lines that assign or require the variables. Call this after `command`, which finds their forms."""
        # If other values are unmasked, a masked one was never recorded. Like a password, it may be empty.
        has_values = any("value" in mark for mark in self._marks.values())
        lines = []
        for key, name in self._names.items():
            mark = self._marks[key]
            if "value" not in mark and has_values:
                lines.append(f': "${{{name}:=}}"')
                continue
            if "value" not in mark:
                lines.append(f': "${{{name}:?set it first; it begins with {_comment_text(mark["shown"])}}}"')
                continue
            lines.append(f"{name}={_quoted(mark['value'])}")
            lines += [
                f"{form}_{name}={_quoted(encode(mark))}"
                for form, (_, encode) in _FORMS.items()
                if (form, key) in self._used_forms
            ]
        return lines

    def command(self, event: dict[str, Any]) -> str:
        """Return the command of a request, with variables for its secrets."""
        query_and_json = {
            "query": self._with_placeholders(event["query"], "-"),
            "json": self._with_placeholders(event.get("json"), "_"),
        }
        text = command(self._with_placeholders(event, ".") | query_and_json)
        for key, placeholder in self._placeholders.items():
            name = self._names[key]
            text = text.replace(f"{placeholder}.", f"""'"${name}"'""")
            for form, (suffix, encode) in _FORMS.items():
                if f"{placeholder}{suffix}" not in text:
                    continue
                differs = encode(self._marks[key]) != self._marks[key].get("value", "")
                self._used_forms |= {(form, key)} if differs else set()
                text = text.replace(f"{placeholder}{suffix}", f"""'"${f"{form}_{name}" if differs else name}"'""")
        return text

    def _with_placeholders(self, value: Any, suffix: str) -> Any:
        if is_mark(value) and "shown" in value and value["hash"] in self._placeholders:
            return self._placeholders[value["hash"]] + suffix
        if isinstance(value, dict):
            return {key: self._with_placeholders(member, suffix) for key, member in value.items()}
        return [self._with_placeholders(item, suffix) for item in value] if isinstance(value, list) else value


def _variable_name(name: str) -> str:
    """Return the variable for a value. Unknown names get a prefix, because the shell may use them (PATH, IFS)."""
    variable = re.sub(r"[^A-Z]", "_", name.upper())[:40]
    return variable if name in MAY_SEE else f"VALUE_{variable}"


def _query_encoded(mark: dict[str, Any]) -> str:
    """Encode a value for a query. Masked values are taken to need no encoding, as is true of codes and tokens."""
    return quote_plus(mark.get("value", ""), errors="replace")


def _json_encoded(mark: dict[str, Any]) -> str:
    """Encode a value for use within a JSON string."""
    return json.dumps(mark.get("value", ""), ensure_ascii=False)[1:-1]


_FORMS: Final = {"ENCODED": ("-", _query_encoded), "JSON": ("_", _json_encoded)}
"""The encoded forms of a value, by the prefix of their variable: the suffix of the placeholder, and the encoder."""


def command(event: dict[str, Any]) -> str:
    """Return a request as a command for a POSIX shell, with marks written as they are."""
    return " \\\n  ".join(_arguments(event))


def url(event: dict[str, Any]) -> str:
    """Return the URL of a request; characters not allowed in URLs are percent-encoded (RFC 3986 section 2.1)."""
    query = urlencode(pairs(event["query"]), errors="replace")
    host = percent_encoded(event["host"], safe=":[]", errors="replace")
    # The paths of requests sent by services were recorded in their encoded form, so percent signs must stay.
    path = percent_encoded(full_path(event), safe="/%:@!$&'()*+,;=~", errors="replace")
    return f"http://{host}{path}{'?' + query if query else ''}"


def _arguments(event: dict[str, Any]) -> Iterator[str]:
    yield "curl -i"
    method = re.sub(r"[^A-Za-z]", "", event["method"]) or "GET"
    if method == "HEAD":
        yield "--head"  # With -X HEAD, curl would wait for a body.
    elif method != ("POST" if event["form"] or event.get("json") is not None else "GET"):
        yield f"-X {method}"
    if "[" in event["host"]:
        yield "-g"  # Otherwise curl expands the brackets to several URLs.
    for name, value in event["request_headers"].items():
        if name not in _OMITTED_HEADERS and value != HIDDEN and not (name == "content-type" and event["form"]):
            yield f"-H {_quoted(f'{name}: {text_of(value)}')}"
    if (authorization := event["request_headers"].get("authorization")) is not None:
        yield from _authorization(event, authorization)
    for name, value in pairs(event["form"]):
        yield f"--data-urlencode {_form_parameter(name, value)}"
    if event.get("json") is not None:
        yield f"--data-binary {_json_body(event['json'])}"
    yield _quoted(url(event))


def _authorization(event: dict[str, Any], authorization: Any) -> Iterator[str]:
    if isinstance(authorization, dict) and str(authorization.get("scheme", "")).lower() == "basic":
        secret = "RESOURCE_SECRET" if event["from"] == "resource_server" else "CLIENT_SECRET"
        # The client ID is form-encoded (RFC 6749 section 2.3.1): a colon in it would end it.
        user = quote_plus(text_of(authorization.get("client_id", "")), errors="replace")
        yield f'-u {_quoted(user)}:"${secret}"'
    elif isinstance(authorization, dict) and "token" in authorization:
        header = _quoted(f"authorization: {text_of(authorization)}")
        yield f"-H {header.replace(_HIDDEN, _HIDDEN_VARIABLE) if authorization['token'] == HIDDEN else header}"


def media_type(event: dict[str, Any]) -> str:
    """Return the media type of a request with a JSON body."""
    return text_of(event["request_headers"].get("content-type", "application/json"))


def as_sent(value: Any) -> Any:
    """Return the original JSON of a recorded body, with `(hidden)` for values that were never recorded."""
    if isinstance(value, dict):
        return text_of(value) if is_text(value) else {name: as_sent(member) for name, member in value.items()}
    return [as_sent(item) for item in value] if isinstance(value, list) else value


def _json_body(value: Any) -> str:
    """Return a JSON body as a shell word, with `$HIDDEN` for each string that was never recorded."""
    return _quoted(json.dumps(as_sent(value), ensure_ascii=False)).replace(f'"{_HIDDEN}"', f'"{_HIDDEN_VARIABLE}"')


def _comment_text(text: str) -> str:
    """Remove all characters that are not safe in a one-line comment or in an error message of the shell."""
    return re.sub(r"[^A-Za-z0-9 .,:;/_…-]", "", text)[:200]


def _form_parameter(name: str, value: str) -> str:
    name = quote_plus(name, errors="replace")  # curl encodes only the value.
    return f'{_quoted(name)}="$HIDDEN"' if value == _HIDDEN else _quoted(f"{name}={value}")


def _quoted(text: str) -> str:
    """Quote any text as a shell word, without NUL, which no argument can contain."""
    return quote("".join(character for character in text.encode("utf-8", "replace").decode() if character != "\x00"))

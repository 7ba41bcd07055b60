"""Recorded values as text: the whole of what was kept, or what stands for it."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any, Final, TypeGuard

MAX_SHOWN: Final = 10_000
"""Characters of a value."""


def clean(value: Any) -> Any:
    """JSON as it was read, without lone surrogates: no page and no file could be written with them."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {clean(key): clean(each) for key, each in value.items()}
    return [clean(each) for each in value] if isinstance(value, list) else value


def is_mark(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether the recorder put this in the place of a value to follow.

    An answer of somebody's own may look nearly alike, and then it is shown as the text that it is.
    """
    return (
        isinstance(value, dict)
        and isinstance(value.get("hash"), str)
        and re.fullmatch("[0-9a-f]{16}", value["hash"]) is not None
        and all(isinstance(value[name], str) for name in ("shown", "value") if name in value)
        and ("shown" in value or "value" in value)
    )


def is_text(value: Any) -> bool:
    """Whether this was sent as a text: what the recorder puts in the place of one has members of its own, not of it."""
    return not isinstance(value, dict | list) or (
        isinstance(value, dict) and (is_mark(value) or value.keys() in ({"url", "parameters"}, {"hidden"}))
    )


def plain(value: Any) -> Any:
    """A recorded value with its marks replaced by what they stand for."""
    if isinstance(value, dict):
        if value.get("hidden") is True:
            return "(hidden)"
        if is_mark(value):
            return value.get("value", value.get("shown"))
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """A recorded value in one line."""
    shown = plain(value)
    if isinstance(shown, dict):
        if "scheme" in shown:
            rest = shown.get("token") or f"{shown.get('client_id', '')}:(hidden)"
            return f"{shown['scheme']} {rest}"
        if "url" in shown:
            given = shown.get("parameters")
            query = "&".join(f"{name}={each}" for name, each in pairs(given)) if isinstance(given, dict) else ""
            return f"{shown['url']}?{query}" if query else str(shown["url"])
    if isinstance(shown, str):
        return shown[:MAX_SHOWN]
    return json.dumps(shown, ensure_ascii=False)[:MAX_SHOWN]


def phrase(status: int) -> str:
    """The reason phrase of a status; empty for one that nobody registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def pairs(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """A query or a form; a parameter that was repeated as often as it was."""
    return [
        (name, text_of(each))
        for name, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
    ]

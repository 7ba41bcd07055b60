"""Recorded values as text: the value if it was kept, or else its placeholder."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, TypeGuard

MAX_SHOWN: Final = 10_000
"""Characters shown per value."""


_EPOCH: Final = re.compile(r"(?<![\w.-])[12]\d{9}(?![\w.-])")
"""Matches seconds since 1970, from 2001 on."""


def clean(value: Any) -> Any:
    """Replace lone surrogates in parsed JSON, because they cannot be encoded as UTF-8."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {clean(key): clean(each) for key, each in value.items()}
    return [clean(each) for each in value] if isinstance(value, list) else value


def is_mark(value: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether this is the recorder's mark for a value that can be followed.

    JSON in a message can look similar; it is shown unchanged.
    """
    return (
        isinstance(value, dict)
        and isinstance(value.get("hash"), str)
        and re.fullmatch("[0-9a-f]{16}", value["hash"]) is not None
        and all(isinstance(value[name], str) for name in ("shown", "value") if name in value)
        and ("shown" in value or "value" in value)
    )


def is_text(value: Any) -> bool:
    """Return whether this is a single value, like the objects that the recorder substitutes for strings."""
    return not isinstance(value, dict | list) or (
        isinstance(value, dict) and (is_mark(value) or value.keys() in ({"url", "parameters"}, {"hidden"}))
    )


def plain(value: Any) -> Any:
    """Return a recorded value with its marks replaced by the values that they stand for, as far as they were kept."""
    if isinstance(value, dict):
        if value.get("hidden") is True:
            return "(hidden)"
        if is_mark(value):
            return value.get("value", value.get("shown"))
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def text_of(value: Any) -> str:
    """Return a recorded value as a string, shortened to `MAX_SHOWN` characters."""
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


def fact_text(value: Any) -> str:
    """Return an expected or actual value of a check, with times since 1970 as dates (RFC 7519 section 2)."""
    return _EPOCH.sub(
        lambda seconds: f"{datetime.fromtimestamp(int(seconds[0]), UTC):%Y-%m-%d %H:%M:%S} UTC", text_of(value)
    )


def duration(seconds: float) -> str:
    """Return a duration with its two largest units, as `inspector.js` does."""
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])


def phrase(status: int) -> str:
    """Return the reason phrase of a status, or an empty string if the status is not registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def lowered(text: str) -> str:
    """Return a sentence that follows a colon, without the capital of its first word unless that is a name."""
    first = text.partition(" ")[0]
    is_word = first[:1].isupper() and first[1:] == first[1:].lower()
    return text[0].lower() + text[1:] if is_word else text


def pairs(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters of a query or a form as pairs, with one pair for each repetition."""
    return [
        (name, text_of(each))
        for name, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
    ]

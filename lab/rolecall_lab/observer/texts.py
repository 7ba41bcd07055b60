"""Recorded values as text: the whole of what was kept, or what stands for it."""

from __future__ import annotations

import json
from typing import Any, Final

MAX_SHOWN: Final = 10_000
"""Characters of a value."""


def clean(value: Any) -> Any:
    """JSON as it was read, without lone surrogates: no page and no file could be written with them."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {clean(key): clean(each) for key, each in value.items()}
    return [clean(each) for each in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A recorded value with its marks replaced by what they stand for."""
    if isinstance(value, dict):
        if value.get("hidden") is True:
            return "(hidden)"
        if "hash" in value and ("shown" in value or "value" in value):
            return value.get("value") or value.get("shown")
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


def pairs(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """A query or a form; a parameter that was repeated as often as it was."""
    return [
        (name, text_of(each))
        for name, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
    ]

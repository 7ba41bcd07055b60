"""A flow as an HTTP Archive (HAR 1.2), which browsers' developer tools and many other tools can open."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from rolecall import __version__
from rolecall_lab.observer.exports.curl import as_sent, media_type, url
from rolecall_lab.observer.picture import lay_out
from rolecall_lab.observer.texts import pairs, phrase, plain, text_of
from rolecall_lab.recording.recorded_flow import Loss, paired


def write(events: list[dict[str, Any]], losses: list[Loss], omitted: tuple[int, str]) -> str:
    """Return the archive. Members that start with `_` are extensions, and the log's comment lists missing messages."""
    entries = [_entry(event) for event in paired(events) if not event.get("shadowed")]
    log: dict[str, Any] = {
        "version": "1.2",
        "creator": {"name": "Rolecall", "version": __version__},
        "entries": entries,
    }
    gaps = [row.text for row in lay_out(events, losses, omitted).rows if row.kind == "gap"]
    if gaps:
        log["comment"] = "; ".join(gaps)
    return json.dumps({"log": log}, indent=1) + "\n"


def _entry(event: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "startedDateTime": datetime.fromtimestamp(event["at"], UTC).isoformat(timespec="milliseconds"),
        "time": event["milliseconds"],
        "request": {
            "method": event["method"],
            "url": url(event),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _headers(event["request_headers"]),
            "queryString": [{"name": name, "value": value} for name, value in pairs(event["query"])],
            "headersSize": -1,
            "bodySize": -1,
        },
        "response": _response(event),
        "cache": {},
        "timings": {"send": 0, "wait": event["milliseconds"], "receive": 0},
        "_from": event["from"],
        "_role": event["to"],
        "_channel": event["channel"],
        "_trace": event["trace"],
        "_checks": plain(event["checks"]),
    }
    if cut := event.get("cut"):
        entry["comment"] = f"Too long; partly omitted: {', '.join(cut)}"
    if (body := event.get("json")) is not None:
        entry["request"]["postData"] = {
            "mimeType": media_type(event),
            "params": [],
            "text": json.dumps(as_sent(body)),
        }
    if event["form"]:
        form = pairs(event["form"])
        entry["request"]["postData"] = {
            "mimeType": "application/x-www-form-urlencoded",
            "params": [{"name": name, "value": value} for name, value in form],
            "text": urlencode(form, errors="replace"),
        }
    return entry


def _response(event: dict[str, Any]) -> dict[str, Any]:
    status = event["status"] or 0
    headers = _headers(event["response_headers"])
    text = "" if event["body"] is None else json.dumps(plain(event["body"]))
    media_type = next((header["value"] for header in headers if header["name"] == "content-type"), "")
    location = event["response_headers"].get("location")
    return {
        "status": status,
        "statusText": phrase(status) or str(event["failure"] or ""),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": headers,
        "content": {"size": len(text), "mimeType": media_type, "text": text},
        "redirectURL": "" if location is None else text_of(location),
        "headersSize": -1,
        "bodySize": -1,
    }


def _headers(headers: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": text_of(value)} for name, value in headers.items() if "cookie" not in name]

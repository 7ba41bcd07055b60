"""The observer's application in this process: its recorded events, and its pages."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import redis

from rolecall_lab.observer.live import Live
from rolecall_lab.recording.recorder import STREAM


def record(store: redis.Redis, *events: dict[str, Any]) -> None:
    for each in events:
        store.xadd(STREAM, {"event": json.dumps(each)})


def shown(live: Live) -> str:
    return live.flows.newest()[0].id


def parts(stream: Any) -> dict[str, Any]:
    """Return the next picture of a stream of events."""
    for chunk in stream:
        text = chunk.decode() if isinstance(chunk, bytes) else chunk
        if match := re.search(r"^id: ([0-9a-f]{8}-(\d+))\ndata: (.*)\n\n$", text, re.DOTALL):
            return {"event_id": match[1], "version": int(match[2]), **json.loads(match[3])}
    raise AssertionError("the stream ended")


def load(browser: Any, file: bytes) -> Any:
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/").text)
    assert token is not None
    return browser.post("/load", data={"csrf_token": token[1], "events": (io.BytesIO(file), "flow.json")})

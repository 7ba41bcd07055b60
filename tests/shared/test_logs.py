"""The members of a log line."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

import pytest
from pythonjsonlogger.json import JsonFormatter

from rolecall import logs, trace


def a_record(
    message: object = "%s of %d", arguments: tuple[object, ...] = ("one", 2), exc_info: Any = None, **more: Any
) -> logging.LogRecord:
    return logging.getLogger("rolecall").makeRecord(
        "rolecall.audit", 30, "f.py", 1, message, arguments, exc_info, **more
    )


def a_failed_record() -> logging.LogRecord:
    try:
        raise ValueError("a reason")
    except ValueError:
        return a_record(exc_info=sys.exc_info(), sinfo="Stack (most recent call last):\n  somewhere")


RECORDS = {
    "plain": a_record(),
    "without arguments": a_record("100 %", ()),
    "extra": a_record(extra={"client_id": "tally", "count": 2, "none": None, "list": ["ä\n"], "_private": 1}),
    "values without a form in JSON": a_record(
        extra={
            "at": datetime(2026, 1, 1, tzinfo=UTC),
            "raw": b"\xff",
            "error": OSError("gone"),
            "any": {1},
            "kind": int,
        }
    ),
    "error": a_failed_record(),
    "members": a_record({"event": "started", "number": 1}, ()),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_line_has_the_members_of_the_library(kind: str) -> None:
    library = JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
        static_fields={"service": "test"},
    )
    line = Context().run(logs.formatter("test").format, RECORDS[kind])  # outside of a request
    assert line == library.format(RECORDS[kind])
    assert {"level", "logger", "message", "service", "timestamp"} <= json.loads(line).keys()


def test_a_line_has_the_id_of_its_request() -> None:
    def line() -> dict[str, object]:
        request_id = trace.begin(None)
        return {**json.loads(logs.formatter("test").format(RECORDS["plain"])), "expected": request_id}

    members = Context().run(line)
    assert members["request_id"] == members["expected"]

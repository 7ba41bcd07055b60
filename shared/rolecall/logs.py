"""JSON logs on standard output: one line per event, with the request id, and without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from rolecall import trace


class _Formatter(JsonFormatter):
    def add_fields(self, log_record: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_record, record, message_dict)
        if (trace_id := trace.current()) is not None:
            log_record["request_id"] = trace_id


def _remove_request_lines(record: logging.LogRecord) -> bool:
    """Remove request lines from gunicorn's messages about invalid requests, because they may contain codes."""
    if record.name == "gunicorn.error":
        text = record.getMessage()
        if fault := re.match(r"Invalid request from ip=\S+: [^:]*", text):
            text = fault[0]
        elif text.startswith("Error handling request"):
            text = text.partition("?")[0]
        record.msg, record.args = text, ()
    return True


def configure(service: str, level: str) -> None:
    """Send all log records to one JSON handler.

    The loggers of Authlib and urllib3 stay at INFO or above, because they log tokens and URLs at DEBUG.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter(service))
    handler.addFilter(_remove_request_lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("authlib", "urllib3", "flask_wtf"):
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level)))


def formatter(service: str) -> logging.Formatter:
    """Return a formatter that writes each record as one line of JSON."""
    return _Formatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
        static_fields={"service": service},
    )

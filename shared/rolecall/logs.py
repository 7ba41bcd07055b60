"""JSON logs to standard output: one line an event, with the request's id and never a secret."""

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


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """Gunicorn tells what kind of fault a request that is none has, and not the line itself: codes may stand in it."""
    if record.name == "gunicorn.error":
        text = record.getMessage()
        if fault := re.match(r"Invalid request from ip=\S+: [^:]*", text):
            text = fault[0]
        elif text.startswith("Error handling request"):
            text = text.partition("?")[0]
        record.msg, record.args = text, ()
    return True


def configure(service: str, level: str) -> None:
    """Send all logging through one JSON handler.

    Authlib's and urllib3's loggers are held at INFO: below it they print tokens and URLs.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter(service))
    handler.addFilter(_without_what_was_sent)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for talkative in ("authlib", "urllib3", "flask_wtf"):
        logging.getLogger(talkative).setLevel(max(logging.INFO, logging.getLevelName(level)))


def formatter(service: str) -> logging.Formatter:
    """One line of JSON for each record."""
    return _Formatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp=True,
        static_fields={"service": service},
    )

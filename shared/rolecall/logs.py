"""JSON logs on standard output: one line per event, with the request id, and without secrets."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from contextlib import nullcontext
from datetime import UTC, datetime
from io import UnsupportedOperation
from typing import Any, Final, TextIO

from pythonjsonlogger.core import merge_record_extra
from pythonjsonlogger.json import JsonEncoder, JsonFormatter

from rolecall import trace


class _Formatter(JsonFormatter):
    """The library's formatter, with one encoder for all lines, and without renaming fields in each of them."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._encode = JsonEncoder().encode

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = record.message
        log_data["service"] = self._service
        log_data.update(message_dict)
        merge_record_extra(record, log_data, self.reserved_attrs)
        log_data["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        if (trace_id := trace.current()) is not None:
            log_data["request_id"] = trace_id

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        return self._encode(log_data)


ATOMIC: Final = 4096
"""Bytes that one call writes to a pipe without mixing them with those of other writers (PIPE_BUF of Linux)."""


class _Handler(logging.StreamHandler[TextIO]):
    """A handler that writes each line with one call, so that threads need no lock and do not wait for each other.

    A line longer than `ATOMIC` may take several calls; other lines wait until it is complete.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._long_line = threading.Lock()

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record, without the lock of other handlers."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file of the stream; to the stream itself if it has no file."""
        try:
            line = f"{self.format(record)}\n"
            try:
                descriptor = self.stream.fileno()
            except UnsupportedOperation:
                self.stream.write(line)
            else:
                data = line.encode()
                is_alone = len(data) > ATOMIC or self._long_line.locked()
                with self._long_line if is_alone else nullcontext():
                    while data:
                        data = data[os.write(descriptor, data) :]
        except Exception:  # a log line never makes a request fail
            self.handleError(record)


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
    # no line contains the place in the code, the thread, or the process, which take long to find
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Handler(sys.stdout)
    handler.setFormatter(formatter(service))
    handler.addFilter(_remove_request_lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("authlib", "urllib3", "flask_wtf"):
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level)))


def formatter(service: str) -> logging.Formatter:
    """Return a formatter that writes each record as one line of JSON."""
    return _Formatter(service)

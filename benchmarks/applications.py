"""The measured applications, for gunicorn: the services without the lab around them, and an empty route.

They have the lab's settings, which allow plain HTTP. With COUNT=1, `/bench/counts` returns how many SQL statements and
Redis round trips the process has needed.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import redis.connection
import sqlalchemy as sa
from flask import Flask

COUNTS = "/bench/counts"
counts = {"sql": 0, "redis": 0}


def auth() -> Flask:
    return _service("auth")


def resource() -> Flask:
    return _service("resource")


def empty() -> Flask:
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "ok")
    return app


def _service(name: str) -> Flask:
    # only an older version has the second name; the virtual environment has the first one of this version
    package = f"{name}_service" if find_spec(f"{name}_service") else f"rolecall_{name}"
    settings = importlib.import_module(f"{package}.settings").Settings.from_environ(os.environ, lab=True)
    app: Flask = importlib.import_module(package).create_app(settings)
    if os.environ.get("COUNT"):
        _count(app)
    return app


def _count(app: Flask) -> None:
    def count_statement(*_args: object) -> None:
        counts["sql"] += 1

    def count_round_trip(send: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            counts["redis"] += 1
            return send(*args, **named)

        return counted

    sa.event.listen(sa.Engine, "before_cursor_execute", count_statement)
    connection: Any = redis.connection.AbstractConnection
    connection.send_packed_command = count_round_trip(connection.send_packed_command)
    served = app.wsgi_app

    def with_counts(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != COUNTS:
            return served(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(counts).encode()]

    app.wsgi_app = with_counts  # type: ignore[method-assign]

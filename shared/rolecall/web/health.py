"""Health checks: `/healthz`, `/readyz`, and `flask check`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import click
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from rolecall.errors import NO_STORE
from rolecall.web.errors import failure_reason
from rolecall.web.routes import Route

log = logging.getLogger("rolecall.access")

HEALTH_PATHS: Final = ("/healthz", "/readyz")


def health_routes(app: Flask, ready: dict[str, Callable[[], bool]]) -> list[Route]:
    """Return the routes `/healthz` (the process runs) and `/readyz` (every check in `ready` passes, otherwise 503).

    A failing check returns False or raises an exception whose message explains how to fix the problem. `flask check`
    runs the same checks and prints these messages. Code that wraps the application may add checks to
    `app.extensions["rolecall_ready"]`.
    """
    app.extensions["rolecall_ready"] = ready
    app.cli.add_command(click.Command("check", callback=lambda: _check(ready), help=_check.__doc__))

    def healthz() -> ResponseReturnValue:
        return jsonify(status="ok"), 200, NO_STORE

    def readyz() -> ResponseReturnValue:
        parts = {name: _passes(check) for name, check in ready.items()}
        status = 200 if all(parts.values()) else 503
        return jsonify(status="ready" if status == 200 else "not ready", **parts), status, NO_STORE

    return [
        Route("healthz", "/healthz", ("GET",), healthz, "api", "none: liveness check"),
        Route("readyz", "/readyz", ("GET",), readyz, "api", "none: readiness check"),
    ]


def _check(ready: dict[str, Callable[[], bool]]) -> None:
    """Print what prevents the service from starting, one line per problem; exit with code 1 if there is any."""
    faults = [fault for fault in dict.fromkeys(fault_of(check) for check in ready.values()) if fault]
    for fault in faults:
        click.echo(f"cannot start: {fault}", err=True)
    if faults:
        raise SystemExit(1)


def fault_of(check: Callable[[], bool]) -> str:
    """Run a check of `/readyz` and describe its failure in one line; return an empty string if it passes."""
    try:
        return "" if check() else "the check failed"
    except Exception as error:  # the service cannot work, whatever the error is
        return failure_reason(error)


def _passes(check: Callable[[], bool]) -> bool:
    fault = fault_of(check)
    if fault:
        log.warning("not ready", extra={"detail": fault})
    return not fault

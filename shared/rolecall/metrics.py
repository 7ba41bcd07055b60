"""What is counted for Prometheus; shown on a port of its own (`METRICS_PORT`), never beside the service's pages."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, multiprocess, start_http_server

REQUESTS = Counter("rolecall_requests", "Requests answered.", ["service", "route", "method", "status"])
SECONDS = Histogram(
    "rolecall_request_seconds",
    "Seconds from a request's arrival to its answer.",
    ["service", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
REFUSALS = Counter("rolecall_refusals", "Requests refused, by the error that was told.", ["service", "error"])
AUDIT_EVENTS = Counter("rolecall_audit_events", "Acts that matter to security.", ["service", "event"])


def serve(port: int) -> Any:
    """Show the sum over all workers at `:port/metrics`; gunicorn's master does so. Gives the server."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    server, _thread = start_http_server(port, registry=registry)
    return server


def forget(pid: int) -> None:
    """A worker has ended: its gauges end with it, its counts stay."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]

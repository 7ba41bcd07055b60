"""Prometheus metrics, served on a separate port (`METRICS_PORT`), never on the port of the service."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess, start_http_server

REQUESTS = Counter("rolecall_requests", "Number of requests handled.", ["service", "route", "method", "status"])
SECONDS = Histogram(
    "rolecall_request_seconds",
    "Time to handle a request, in seconds.",
    ["service", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
REFUSALS = Counter("rolecall_refusals", "Number of requests refused, by error code.", ["service", "error"])
AUDIT_EVENTS = Counter("rolecall_audit_events", "Number of security events.", ["service", "event"])
REDIS_MEMORY = Gauge(
    "rolecall_redis_memory_used_ratio",
    "The part of its maxmemory that Redis uses, from 0 to 1; 0 if it has no maximum.",
    ["service"],
    multiprocess_mode="livemostrecent",
)
REVOCATIONS_LOADED = Counter(
    "rolecall_revocations_loaded", "Number of revocations that rebuilds have loaded from SQL into Redis."
)
REVOCATION_REBUILDS = Gauge(
    "rolecall_revocation_rebuilds",
    "Number of rebuilds of the set of revoked tokens that are running.",
    multiprocess_mode="livesum",
)


def serve(port: int) -> Any:
    """Serve the metrics of all workers at `:port/metrics` from gunicorn's master process; return the server."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    server, _thread = start_http_server(port, registry=registry)
    return server


def remove_worker(pid: int) -> None:
    """Remove the gauges of a worker that has exited; its counters stay."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]

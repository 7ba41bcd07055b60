"""The gunicorn configuration of the services: `gunicorn -c python:rolecall.gunicorn_conf`.

See docs/performance.md for the reasons.
"""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
from pathlib import Path
from typing import Any, Final

_metrics_port = int(os.environ.get("METRICS_PORT") or 0)
if _metrics_port:
    # set before the application is imported: its workers write their metrics to files in this folder
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="metrics-"))

from rolecall import metrics, periodic  # noqa: E402
from rolecall.web.bodies import MAX_REQUEST_BODY  # noqa: E402

_request_deadline = float(os.environ.get("REQUEST_DEADLINE") or 10)

_M_MMAP_THRESHOLD: Final = -3  # from glibc's malloc.h
_LARGE: Final = 128 * 1024

worker_class = "rolecall.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 16
# each needs a file descriptor, of which a process can often open only 1,024
worker_connections = 512
preload_app = True
keepalive = 15
graceful_timeout = 8
limit_request_line = 8190
# of one header field, such as all cookies that the applications on a host have set
limit_request_field_size = 16384
# do not let a request header (SCRIPT_NAME) set the path at which the application is mounted
forwarder_headers = ""
# TRUSTED_PROXIES determines the scheme, and a list of two schemes is not an error
secure_scheme_headers: dict[str, str] = {}
http_parser = "python"
control_socket_disable = True
# workers update a file as a heartbeat; on a slow disk, a working one would look like it hangs
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# pass gunicorn's own log records to the handler of the service, which writes JSON
logconfig_dict: dict[str, Any] = {
    "root": {"level": "INFO", "handlers": []},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True}},
}


def when_ready(server: Any) -> None:
    """Prepare the memory that all workers share before the first one forks, and start the metrics server."""
    # return large freed blocks to the system; otherwise, each thread keeps the most memory that any request ever needed
    # (10 MB for a form of percent signs). Only glibc has this function
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
    for app in periodic.applications(server.app.wsgi()):
        for name in app.jinja_env.list_templates():
            app.jinja_env.get_template(name)
    gc.collect()
    # otherwise, the garbage collector of each worker would write to, and so copy, the shared pages
    gc.freeze()
    if _metrics_port:
        metrics.serve(_metrics_port)


def post_fork(_server: Any, worker: Any) -> None:
    """Set the seconds in which a client must have sent all of a request."""
    worker.request_deadline = _request_deadline


def pre_request(_worker: Any, req: Any) -> None:
    """Close the connection after rejecting a body for its length: the body is not read (RFC 9112 section 9.6)."""
    for name, value in req.headers:
        if name == "CONTENT-LENGTH" and int(value) > MAX_REQUEST_BODY:
            req.force_close()


def post_worker_init(worker: Any) -> None:
    """Start the service's periodic work."""
    periodic.start(worker.wsgi)


def child_exit(_server: Any, worker: Any) -> None:
    """Keep the counts of a worker that has exited."""
    if _metrics_port:
        metrics.remove_worker(worker.pid)

"""How gunicorn runs a service: `gunicorn -c python:rolecall.gunicorn_conf`. docs/performance.md says why."""

from __future__ import annotations

import ctypes
import gc
import os
import tempfile
from pathlib import Path
from typing import Any, Final

_metrics_port = int(os.environ.get("METRICS_PORT") or 0)
if _metrics_port:
    # before the application is imported: its workers count into files of this folder
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="metrics-"))

from rolecall.web.app import MAX_REQUEST_BODY  # noqa: E402

_M_MMAP_THRESHOLD: Final = -3  # of glibc's malloc.h
_LARGE: Final = 128 * 1024

worker_class = "rolecall.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 16
preload_app = True
keepalive = 15
graceful_timeout = 8
limit_request_line = 8190
# no header of a request says where an application is mounted
forwarder_headers = ""
http_parser = "python"
control_socket_disable = True
# a disk that is slow must not look like a worker that hangs
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# gunicorn's own lines go through the service's handler, which writes JSON
logconfig_dict: dict[str, Any] = {
    "root": {"level": "INFO", "handlers": []},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True}},
}


def when_ready(server: Any) -> None:
    """Before the first worker: what is loaded stays shared with all of them. Show what is counted, on its own port."""
    # a large piece of memory goes back to the system when it is freed: else each thread keeps the most that a request
    # ever needed, ten megabytes for a form of percent signs. What is not glibc has no such function
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
    if templates := getattr(server.app.wsgi(), "jinja_env", None):
        for name in templates.list_templates():
            templates.get_template(name)
    gc.collect()
    # else each worker's collector would write into all of it
    gc.freeze()
    if _metrics_port:
        # imported here: without the port nobody counts into files
        from rolecall import metrics  # noqa: PLC0415

        metrics.serve(_metrics_port)


def pre_request(_worker: Any, req: Any) -> None:
    """A body that is refused for its length is not read: the answer says that the connection ends (RFC 9112 9.6)."""
    for name, value in req.headers:
        if name == "CONTENT-LENGTH" and int(value) > MAX_REQUEST_BODY:
            req.force_close()


def post_worker_init(worker: Any) -> None:
    """Begin with what the service does by itself."""
    from rolecall import periodic  # noqa: PLC0415

    periodic.start(worker.wsgi)


def child_exit(_server: Any, worker: Any) -> None:
    """What an ended worker counted stays."""
    if _metrics_port:
        from rolecall import metrics  # noqa: PLC0415

        metrics.forget(worker.pid)

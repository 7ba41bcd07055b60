"""How gunicorn runs a service: `gunicorn -c python:rolecall.gunicorn_conf`. docs/performance.md says why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 16
preload_app = True
keepalive = 15
graceful_timeout = 8
limit_request_line = 8190
http_parser = "python"
control_socket_disable = True
# a disk that is slow must not look like a worker that hangs
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# gunicorn's own lines go through the service's handler, which writes JSON
logconfig_dict: dict[str, Any] = {
    "root": {"level": "INFO", "handlers": []},
    "loggers": {"gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True}},
}

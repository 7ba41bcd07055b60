"""Gunicorn's threaded worker, changed to refuse new connections as soon as it begins to stop."""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):
    """A worker that closes its listeners when it begins to stop, instead of after the last running request.

    Until it closes them, the kernel keeps accepting connections that are never served. A proxy must not repeat a POST
    that it has sent on such a connection, but it may send one to another replica if the connection was refused.
    """

    sockets: list[Any]

    def set_accept_enabled(self, enabled: bool) -> None:
        """Enable or disable accepting; gunicorn disables it when the worker stops or has its maximum of connections."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            before = -1
            while before != self.nr_conns:  # accept the connections that are already waiting
                before = self.nr_conns
                self.accept(listener)
            listener.close()
        self.sockets = []  # a second call must not use closed listeners

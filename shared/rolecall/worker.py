"""Gunicorn's threaded worker, but who comes while it stops is refused at once, instead of being hung up on later."""

from __future__ import annotations

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):
    """Closes its listeners when it begins to stop, not when it has finished what runs.

    Connections that wait in them until then are never served, and a front may not send a POST again that it has sent;
    one that is refused may go to another replica.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """As gunicorn calls it; with False when this worker stops, or has as many connections as it takes."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            if listener.fileno() < 0:  # closed already
                continue
            before = -1
            while before != self.nr_conns:  # who waits already is let in
                before = self.nr_conns
                self.accept(listener)
            listener.close()

"""Connections to PostgreSQL with a timeout for a server that is paused, unreachable, or blocked by its disk."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

PATIENCE: Final = 1.8
"""Seconds to wait for one response; longer than the `statement_timeout`, with which the server ends a statement."""


class PatientConnection(psycopg.Connection[Any]):
    """A connection that waits up to `patience` seconds for each response (None: indefinitely), and then closes."""

    patience: float | None = PATIENCE

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for a response; psycopg calls this for every exchange with the server.

        Raises:
            psycopg.OperationalError: the wait timed out; the connection is closed, because its state is unknown.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> PatientConnection:
    """Handle SQLAlchemy's event `do_connect`."""
    return PatientConnection.connect(*arguments, **parameters)

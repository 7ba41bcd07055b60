"""Connections to PostgreSQL that give up when it no longer answers: paused, cut off, or on a disk that hangs."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

PATIENCE: Final = 1.8
"""Seconds for one answer; the server itself ends statements before that (`statement_timeout`)."""


class PatientConnection(psycopg.Connection[Any]):
    """Waits `patience` seconds for an answer (None: for ever), then counts as broken."""

    patience: float | None = PATIENCE

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg wants it.

        Raises:
            psycopg.OperationalError: no answer in time; the connection is closed, its state is not known.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> PatientConnection:
    """For SQLAlchemy's event `do_connect`."""
    return PatientConnection.connect(*arguments, **parameters)

"""A Redis client without redis-py's measurements for OpenTelemetry, which take longer than most commands."""

from __future__ import annotations

from typing import Any

import redis


class LeanPool(redis.ConnectionPool):
    """Lends connections; those that are new, or have to be replaced, are for redis-py to handle."""

    def get_connection(self, *_arguments: Any, **_options: Any) -> Any:
        """Return a connection that is ready for a command."""
        self._checkpid()
        with self._lock:
            if not self._available_connections:
                connection = None
            else:
                connection = self._available_connections.pop()
                self._in_use_connections.add(connection)
        if connection is None:
            return super().get_connection()
        try:
            self._prepare(connection)
        except BaseException:
            self.release(connection)
            raise
        return connection

    def _prepare(self, connection: Any) -> None:
        connection.connect()  # if this fails, Redis is unavailable, and a second attempt would only take longer
        try:
            is_ready = not connection.can_read()  # it could read the rest of a response, or the end of the connection
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            is_ready = False
        if not is_ready:
            connection.disconnect()
            connection.connect()

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        self._checkpid()
        with self._lock:
            is_usual = connection in self._in_use_connections and not connection.should_reconnect()
            if is_usual and self.owns_connection(connection):
                self._in_use_connections.remove(connection)
                self._available_connections.append(connection)
                return
        super().release(connection)


class LeanRedis(redis.Redis):
    """Runs commands with the connection's retries."""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        """Send a command and return its response."""
        pool = self.connection_pool
        connection: Any = pool.get_connection()

        def run() -> Any:
            connection.send_command(*arguments, **options)
            return self.parse_response(connection, arguments[0], **options)  # type: ignore[no-untyped-call]

        try:
            return connection.retry.call_with_retry(run, lambda _error: connection.disconnect())
        finally:
            pool.release(connection)

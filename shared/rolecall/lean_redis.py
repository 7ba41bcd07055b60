"""A Redis client without redis-py's measurements for OpenTelemetry, which take longer than most commands."""

from __future__ import annotations

from typing import Any

import redis


class LeanRedis(redis.Redis):
    """A client that runs commands with the connection's retries, and without measurements."""

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

"""A Redis client without redis-py's measurements for OpenTelemetry, which take longer than most commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis


class LeanRedis(redis.Redis):
    """A client that runs commands with the connection's retries, and without measurements."""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        """Send a command and return its response."""

        def run(connection: Any) -> Any:
            connection.send_command(*arguments, **options)
            return self.parse_response(connection, arguments[0], **options)  # type: ignore[no-untyped-call]

        return self._with_retries(run)

    def in_one_round_trip(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands together and return the unparsed responses; after a lost connection, send all of them again.

        Raises:
            redis.ResponseError: one of the responses is this error.
        """

        def run(connection: Any) -> list[Any]:
            connection.send_packed_command(connection.pack_commands(commands))
            try:
                return [_response_or_error(connection) for _ in commands]
            except BaseException:
                connection.disconnect()  # some responses are unread
                raise

        responses: list[Any] = self._with_retries(run)
        for response in responses:
            if isinstance(response, redis.ResponseError):
                raise response
        return responses

    def _with_retries(self, run: Callable[[Any], Any]) -> Any:
        pool = self.connection_pool
        connection: Any = pool.get_connection()
        try:
            return connection.retry.call_with_retry(lambda: run(connection), lambda _error: connection.disconnect())
        finally:
            pool.release(connection)


def _response_or_error(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error

"""The lean Redis client: connections that fail, that were lost, or that still have an unread response."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from rolecall import storage


def pool_of(client: redis.Redis) -> Any:
    return client.connection_pool


def greeting(url: str) -> tuple[redis.Redis, list[object]]:
    """Return a client, and the list of the connections that it has made."""
    greeted: list[object] = []

    def greet(connection: Any) -> None:
        connection.on_connect()
        greeted.append(connection)

    return storage.connect(url, on_connect=greet), greeted


def test_no_connection_is_tried_more_often_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt may take all of its timeout, and the response must be 503 after two seconds."""
    attempts: list[object] = []

    def refuse(connection: object) -> None:
        attempts.append(connection)
        raise ConnectionRefusedError

    monkeypatch.setattr(redis.Connection, "_connect", refuse)
    client = storage.connect("redis://127.0.0.1:9")
    counts = []
    for _ in range(3):
        attempts.clear()
        with pytest.raises(redis.ConnectionError):
            client.get("name")
        counts.append(len(attempts))
    assert counts == [2, 2, 2]
    assert not pool_of(client)._in_use_connections
    assert pool_of(client)._created_connections == 1


def test_a_response_that_nobody_read_is_not_that_of_the_next_command(redis_url: str) -> None:
    client = storage.connect(redis_url)
    client.set("name", "value")
    connection: Any = pool_of(client).get_connection()
    connection.send_command("PING")
    assert connection.can_read(1)
    pool_of(client).release(connection)
    assert client.get("name") == b"value"
    assert pool_of(client)._created_connections == 1


def test_an_error_response_keeps_the_connection(redis_url: str) -> None:
    client, greeted = greeting(redis_url)
    client.set("name", "value")
    for _ in range(3):
        with pytest.raises(redis.ResponseError):
            client.incr("name")
    assert client.get("name") == b"value"
    assert len(greeted) == 1


def test_a_closed_connection_is_replaced_and_greeted(redis_url: str) -> None:
    client, greeted = greeting(redis_url)
    client.set("name", "value")
    redis.Redis.from_url(redis_url).client_kill_filter(_type="normal")
    assert client.get("name") == b"value"
    assert len(greeted) == 2


def test_commands_in_one_round_trip_are_answered_in_order(redis_url: str) -> None:
    client = storage.connect(redis_url)
    commands = (("SADD", "set", "b"), ("SMISMEMBER", "set", "a", "b"), ("GET", "none"), ("SET", "name", "1", "NX"))
    assert client.in_one_round_trip(*commands) == [1, [0, 1], None, b"OK"]
    redis.Redis.from_url(redis_url).client_kill_filter(_type="normal")
    assert client.in_one_round_trip(*commands) == [0, [0, 1], None, None]
    assert pool_of(client)._created_connections == 1


@pytest.mark.parametrize("position", [0, 1])
def test_an_error_response_among_several_leaves_no_response_unread(redis_url: str, position: int) -> None:
    client, greeted = greeting(redis_url)
    client.mset({"name": "value", "other": "another value"})
    commands = [("GET", "name"), ("GET", "name")]
    commands.insert(position, ("SMISMEMBER", "name", "member"))
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.in_one_round_trip(*commands)
        assert client.get("other") == b"another value"
    assert len(greeted) == 1


def test_a_failure_between_two_responses_leaves_no_response_unread(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, greeted = greeting(redis_url)
    client.mset({"name": "value", "other": "another value"})
    kind = redis.connection.AbstractConnection
    genuine = kind.read_response

    def interrupted(connection: Any, **options: Any) -> Any:
        genuine(connection, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "read_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.in_one_round_trip(("GET", "name"), ("GET", "name"))
    monkeypatch.setattr(kind, "read_response", genuine)
    assert client.get("other") == b"another value"
    assert not pool_of(client)._in_use_connections
    assert len(greeted) == 2

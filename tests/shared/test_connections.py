"""Connections of slow clients: they hold no threads, and are closed when their time is over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rolecall.web.bodies import MAX_REQUEST_BODY
from rolecall.worker import MAX_WAITING_HEAD, Progress, progress
from support.bare_service import gunicorn, is_healthy
from support.slow_clients import HALF_SENT, NEVER_CLOSED, is_closed, slow_clients
from support.stack import wait_until

FEW_THREADS = {"GUNICORN_CMD_ARGS": "--workers 1 --threads 4 --worker-connections 20"}


@pytest.fixture(scope="module")
def patient_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a service that does not close connections during a test."""
    with gunicorn(tmp_path_factory.mktemp("service"), **FEW_THREADS, REQUEST_DEADLINE="3600") as (_, port):
        yield port


@pytest.mark.parametrize("sent", [*HALF_SENT.values(), NEVER_CLOSED], ids=[*HALF_SENT, "a request, never closed"])
def test_slow_clients_hold_no_threads(patient_service: int, sent: str) -> None:
    with slow_clients(patient_service, 8, sent):
        for _ in range(4):
            assert is_healthy(patient_service)


def test_a_request_that_is_not_complete_in_time_is_closed(tmp_path: Path) -> None:
    with gunicorn(tmp_path, **FEW_THREADS, REQUEST_DEADLINE="0.2") as (_, port), ExitStack() as opened:
        clients = [opened.enter_context(slow_clients(port, 2, sent)) for sent in HALF_SENT.values()]
        wait_until(lambda: all(is_closed(connection) for pair in clients for connection in pair))
        assert is_healthy(port)


def test_when_there_are_too_many_connections_the_oldest_waiting_ones_are_closed(patient_service: int) -> None:
    with slow_clients(patient_service, 40, "GET / HTTP/1.1\r\n") as clients:
        assert is_healthy(patient_service)
        wait_until(lambda: sum(map(is_closed, clients)) > 20)
        assert is_closed(clients[0])
        assert not is_closed(clients[-1])


@pytest.mark.parametrize("parts", [1, 2, 7, 300])
def test_a_request_in_parts_and_the_one_after_it_get_their_responses(patient_service: int, parts: int) -> None:
    """RFC 9112 section 9.3.2."""
    body = "grant_type=password&x=1"
    head = "POST /token HTTP/1.1\r\nHost: auth.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    requests = f"{head}Content-Length: {len(body)}\r\n\r\n{body}{last}".encode()
    size = -(-len(requests) // parts)
    with socket.create_connection(("127.0.0.1", patient_service), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(requests), size):
            connection.sendall(requests[start : start + size])
        connection.shutdown(socket.SHUT_WR)
        responses = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert responses.startswith(b"HTTP/1.1 4")
    assert responses.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 200 OK" in responses


@pytest.mark.parametrize("value", ["GET /\r\n", "GET / HTTP/1.1\nHost: localhost\n\n", "x" * 20_000])
def test_a_malformed_head_is_rejected_before_it_ends(patient_service: int, value: str) -> None:
    with socket.create_connection(("127.0.0.1", patient_service), 60) as connection:
        connection.sendall(value.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 4")


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"transfer-encoding: Chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Progress.PARTIAL),
        (b"\r", Progress.PARTIAL),
        (b"\r\nGET / HTT", Progress.PARTIAL),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", Progress.PARTIAL),
        (b"GET / HTTP/1.1\r\n\r\n", Progress.COMPLETE),
        (HEAD + b"\r\n", Progress.COMPLETE),
        (HEAD + b"content-length: 3\r\n\r\nab", Progress.PARTIAL),
        (HEAD + b"Content-Length:3\r\n\r\nabc", Progress.COMPLETE),
        (HEAD + b"Content-Length: 3\r\n\r\nabcGET /", Progress.COMPLETE),
        (HEAD + b"X: content-length: 9\r\n\r\n", Progress.COMPLETE),
        (HEAD + b"\r\nbody\r\nContent-Length: 9\r\n", Progress.COMPLETE),
        (HEAD + b"Content-Length: %d\r\n\r\n" % MAX_REQUEST_BODY, Progress.PARTIAL),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (MAX_REQUEST_BODY + 1), Progress.UNKNOWN),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", Progress.UNKNOWN),
        (HEAD + b"Content-Length: -1\r\n\r\n", Progress.UNKNOWN),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", Progress.UNKNOWN),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Progress.UNKNOWN),
        (CHUNKED, Progress.PARTIAL),
        (CHUNKED + b"5", Progress.PARTIAL),
        (CHUNKED + b"5\r\nab", Progress.PARTIAL),
        (CHUNKED + b"5\r\nabcde", Progress.PARTIAL),
        (CHUNKED + b"5\r\nabcde\r\n0\r\n", Progress.PARTIAL),
        (CHUNKED + b"5\r\nabcde\r\n0\r\n\r", Progress.PARTIAL),
        (CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n", Progress.COMPLETE),
        (CHUNKED + b"0\r\n\r\nGET /", Progress.COMPLETE),
        (CHUNKED + b"10000\r\n" + b"x" * MAX_REQUEST_BODY + b"\r\n", Progress.PARTIAL),
        (CHUNKED + b"10000\r\n" + b"x" * MAX_REQUEST_BODY + b"\r\n1\r\n", Progress.UNKNOWN),
        (CHUNKED + b"10001\r\n", Progress.UNKNOWN),
        (CHUNKED + b"fffffffff\r\n", Progress.UNKNOWN),
        (CHUNKED + b"1\r\nx\r\n" * 1000, Progress.UNKNOWN),
        (CHUNKED + b"5\r\nabcdef", Progress.UNKNOWN),
        (CHUNKED + b"x", Progress.UNKNOWN),
        (CHUNKED + b"5;a=b\r\n", Progress.UNKNOWN),
        (CHUNKED + b"0\r\nTrailer: x\r\n", Progress.UNKNOWN),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", Progress.UNKNOWN),
        (HEAD + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", Progress.UNKNOWN),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_WAITING_HEAD, Progress.UNKNOWN),
        (b"GET / HTTP/2.0\r\n", Progress.UNKNOWN),
        (b"GET / HTTP/1.1\n", Progress.UNKNOWN),
    ],
)
def test_how_much_of_a_request_has_arrived(data: bytes, expected: Progress) -> None:
    assert progress(data) is expected

"""Request bodies: with a length or chunked, whole or rejected."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, jsonify, request
from werkzeug.test import TestResponse

from rolecall.web.bodies import MAX_REQUEST_BODY, receive_body
from rolecall.web.routes import Route
from support.bare_service import gunicorn
from support.small_services import flask_app

HEAD = "POST {path} HTTP/1.1\r\nHost: auth.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
FORM = b"grant_type=password&x=" + b"y" * 100


def chunks(body: bytes, size: int = 7, end: bytes = b"0\r\n\r\n") -> bytes:
    parts = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


@pytest.fixture
def app() -> Flask:
    def view() -> Any:
        return jsonify(size=len(request.get_data()), form=request.form)

    return flask_app("x", Route("x", "/x", ("GET", "POST", "PUT"), view, "api", "test"))


def send(app: Flask, body: Any, **environ: Any) -> TestResponse:
    received = {"wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body, "wsgi.input_terminated": True}
    headers = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    return app.test_client().post("/x", environ_overrides={**received, **headers, **environ})


@pytest.mark.parametrize("size", [0, 1, MAX_REQUEST_BODY])
def test_a_chunked_body_is_read_as_a_whole(app: Flask, size: int) -> None:
    """RFC 9112 section 7.1; the server has already removed the chunks."""
    answer = send(app, b"x" * size)
    assert (answer.status_code, answer.json) == (200, {"size": size, "form": {}})


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_chunked_body_beyond_the_limit_is_rejected(app: Flask, method: str) -> None:
    """RFC 9110 section 15.5.14: no more than the limit is read of an endless body."""
    read = []

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            read.append(size)
            return b"x" * size

    answer = send(app, Endless(), REQUEST_METHOD=method)
    assert answer.status_code == 413
    assert answer.json["error"] == "invalid_request"
    assert sum(read) <= MAX_REQUEST_BODY + 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"CONTENT_LENGTH": "1"}, 400),
        ({"HTTP_TRANSFER_ENCODING": "gzip, chunked"}, 501),
        ({"HTTP_TRANSFER_ENCODING": "chunked, chunked"}, 501),
        ({"HTTP_TRANSFER_ENCODING": ""}, 501),
        ({"wsgi.input_terminated": False}, 501),
    ],
)
def test_other_framings_are_rejected(app: Flask, changes: dict[str, Any], status: int) -> None:
    """RFC 9112 sections 6.1 and 6.3."""
    answer = send(app, b"x", **changes)
    assert answer.status_code == status
    assert answer.json["error"] == "invalid_request"


@pytest.mark.parametrize("error", [OSError("reset"), ValueError("no chunk size")])
def test_a_body_that_cannot_be_read_is_rejected(app: Flask, error: Exception) -> None:
    """RFC 9112 section 8."""

    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise error

    assert send(app, Broken()).status_code == 400


@pytest.mark.parametrize(("length", "status"), [("5", 0), ("6", 400), ("x", 400), ("-1", 400), ("9" * 5000, 413)])
def test_a_body_is_as_long_as_its_length(length: str, status: int) -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"abcde")}
    receive_body(environ, MAX_REQUEST_BODY)
    assert environ.get("rolecall.rejected_body", 0) == status
    assert environ["wsgi.input"].read() == (b"" if status else b"abcde")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with gunicorn(tmp_path_factory.mktemp("service")) as (_, port):
        yield port


def ask(port: int, sent: bytes, path: str = "/token", *, parts: int = 1, framing: str = "chunked") -> bytes:
    head = HEAD.format(path=path) + f"Transfer-Encoding: {framing}\r\nConnection: close\r\n\r\n"
    whole = head.encode() + sent
    size = -(-len(whole) // parts)
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(whole), size):
            connection.sendall(whole[start : start + size])
        return b"".join(iter(lambda: connection.recv(10_000), b""))


@pytest.mark.parametrize("parts", [1, 2, 50])
@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"000;name=value\r\n\r\n", b"0\r\nX-Trailer: x\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_gunicorn_reads_chunked_bodies(port: int, parts: int, end: bytes, size: int) -> None:
    """RFC 9112 section 7.1: in any number of chunks, with extensions and trailers; the form is understood."""
    answer = ask(port, chunks(FORM, size, end), parts=parts)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"unsupported_grant_type" in answer


@pytest.mark.parametrize("path", ["/token", "/sign-in", "/nowhere"])
@pytest.mark.parametrize("size", [100, 20_000, 70_000])
def test_gunicorn_rejects_chunked_bodies_beyond_the_limit(port: int, path: str, size: int) -> None:
    """RFC 9110 section 15.5.14."""
    assert ask(port, chunks(b"x" * (MAX_REQUEST_BODY + 1), size), path).startswith(b"HTTP/1.1 413")
    assert not ask(port, chunks(b"x" * MAX_REQUEST_BODY, size), path).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "sent",
    [
        b"x\r\n", b"-1\r\nx", b"\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"5\r\nabcde0\r\n\r\n", b"5\nabcde\r\n",
        b"5\r\nabcde\r\nzz\r\n", b"0x5\r\nabcde\r\n0\r\n\r\n", b"5 \r\nabcde\r\n0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n",
    ],
)  # fmt: skip
def test_gunicorn_rejects_bodies_that_do_not_parse(port: int, sent: bytes) -> None:
    """RFC 9112 section 7.1: without waiting for more, and never with a part of the body."""
    answer = ask(port, sent)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"unsupported_grant_type" not in answer


@pytest.mark.parametrize(
    ("framing", "status"),
    [
        ("chunked\r\nContent-Length: 5", 400), ("chunked, chunked", 400), ("identity", 400), ("gzip, chunked", 501),
        ("xchunked", 501),
    ],
)  # fmt: skip
def test_gunicorn_rejects_other_framings(port: int, framing: str, status: int) -> None:
    """RFC 9112 sections 6.1 and 6.3."""
    assert ask(port, b"0\r\n\r\n", framing=framing).startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize("framing", ["Content-Length: 50", "Transfer-Encoding: chunked"])
def test_a_body_that_ends_early_is_never_used(port: int, framing: str) -> None:
    """RFC 9112 section 8: the client expects 100 (Continue), so that a thread receives the body."""
    head = HEAD.format(path="/token") + f"{framing}\r\nExpect: 100-continue\r\n\r\n"
    body = b"grant_type=password" if "Length" in framing else b"13\r\ngrant_type=password\r\n"
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert b"unsupported_grant_type" not in answer
    assert answer.startswith(b"HTTP/1.1 400") or not answer


def test_a_connection_is_used_again_after_a_chunked_body(port: int) -> None:
    """RFC 9112 section 9.3.2."""
    head = (HEAD.format(path="/token") + "Transfer-Encoding: chunked\r\n\r\n").encode()
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall((head + chunks(FORM)) * 2 + last)
        answers = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert answers.count(b"unsupported_grant_type") == 2
    assert answers.endswith(b'{"status":"ok"}\n')

"""The internals of gunicorn and psycopg that we override: an upgrade that changes them must fail here."""

from __future__ import annotations

import inspect
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from gunicorn.config import Config
from gunicorn.sock import TCPSocket
from gunicorn.workers.gthread import ThreadWorker

from rolecall import gunicorn_conf, patient_postgres
from rolecall.patient_postgres import PatientConnection
from rolecall.sql import Database
from rolecall.worker import Worker


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_gunicorn_has_the_methods_that_the_worker_uses() -> None:
    assert parameters(ThreadWorker.set_accept_enabled) == ["self", "enabled"]
    assert parameters(ThreadWorker.accept) == ["self", "listener"]
    assert parameters(ThreadWorker.enqueue_req) == ["self", "conn"]
    assert parameters(ThreadWorker.on_pending_socket_readable) == ["self", "conn", "client"]
    assert parameters(ThreadWorker.finish_request) == ["self", "conn", "fs"]
    assert parameters(ThreadWorker.murder_pending) == ["self"]
    assert parameters(ThreadWorker._cap_keepalive) == ["self", "deadline"]
    config = Config()
    config.set("worker_class", gunicorn_conf.worker_class)
    assert config.worker_class is Worker


def test_a_stopping_worker_accepts_the_waiting_connections_and_closes_its_listeners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The listener is closed as in `ThreadWorker.run`, while accepted connections are still being served."""
    config = Config()
    listener = TCPSocket(("127.0.0.1", 0), config, logging.getLogger("test"))
    address = listener.getsockname()
    worker = Worker(1, os.getppid(), [listener], None, 30, config, logging.getLogger("test"))
    worker.tpool, worker.poller = worker.get_thread_pool(), selectors.DefaultSelector()
    worker.method_queue.init()
    accepted: list[Any] = []
    while_serving: list[int] = []

    def notify() -> None:
        """Called by the loop that waits for the accepted connections to end."""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
        while_serving.append(worker.nr_conns)
        worker.set_accept_enabled(False)
        worker.nr_conns = 0

    monkeypatch.setattr(worker, "enqueue_req", accepted.append)
    monkeypatch.setattr(worker, "notify", notify)
    with socket.create_connection(address, 5), socket.create_connection(address, 5):
        worker.alive = False
        worker.run()
    assert while_serving == [2]
    for connection in accepted:
        connection.sock.close()
    worker.tmp.close()


def test_psycopg_has_the_methods_that_the_connection_uses() -> None:
    wait = inspect.signature(psycopg.Connection.wait).parameters
    assert list(wait) == ["self", "gen", "interval", "timeout"]
    assert wait["interval"].default == inspect.signature(PatientConnection.wait).parameters["interval"].default
    assert wait["timeout"].default is None
    assert issubclass(psycopg.errors._WaitTimeout, psycopg.OperationalError)


@contextmanager
def silent_postgres() -> Iterator[int]:
    """A PostgreSQL server that accepts a login and then never responds, and its port."""
    connections: list[socket.socket] = []

    def serve() -> None:
        connection, _ = listener.accept()
        connections.append(connection)
        connection.recv(10_000)
        status = (b"client_encoding\0UTF8\0", b"server_version\x0017.0\0")
        messages = [(b"R", bytes(4)), *((b"S", pair) for pair in status), (b"K", bytes(8)), (b"Z", b"I")]
        connection.sendall(b"".join(kind + struct.pack("!I", len(body) + 4) + body for kind, body in messages))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)
            for connection in connections:
                connection.close()


def test_a_connection_gives_up_when_postgresql_does_not_respond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientConnection, "patience", 0.3)
    with silent_postgres() as port:
        address = f"host=127.0.0.1 port={port} user=u dbname=d sslmode=disable gssencmode=disable"
        connection = PatientConnection.connect(address, autocommit=True)
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        assert time.monotonic() - began < 3
        assert connection.closed


def test_the_engine_uses_these_connections(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PatientConnection, "patience", 0.3)
    with silent_postgres() as port:
        url = f"postgresql+psycopg://u@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable"
        database = Database(url, tmp_path)
        assert sa.event.contains(database.engine, "do_connect", patient_postgres.connect)
        began = time.monotonic()
        with pytest.raises(sa.exc.OperationalError):
            database.engine.connect()
        assert time.monotonic() - began < 3
        database.engine.dispose()

"""The sharing of an SQLite file by the threads of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from rolecall import sql
from rolecall.sql import Database, WriteLock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database whose busy handler does not wait."""
    made = Database(f"sqlite:///{tmp_path}/some.db", tmp_path)
    sa.event.listen(made.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=0"))
    with made.transaction() as session:
        session.execute(sa.text("CREATE TABLE entry (number INTEGER)"))
    yield made
    made.engine.dispose()


@contextmanager
def writing_thread(database: Database) -> Iterator[None]:
    """Keep a transaction open in another thread during the block."""
    began, end = threading.Event(), threading.Event()

    def write() -> None:
        with database.transaction() as session:
            session.execute(sa.text("INSERT INTO entry VALUES (0)"))
            began.set()
            end.wait(60)

    thread = threading.Thread(target=write)
    thread.start()
    assert began.wait(60)
    try:
        yield
    finally:
        end.set()
        thread.join(60)


def test_writing_threads_wait_for_each_other_without_the_busy_handler(database: Database, tmp_path: Path) -> None:
    other = Database(f"sqlite:///{tmp_path}/../{tmp_path.name}/some.db", tmp_path)
    other.engine = database.engine

    def write(number: int) -> None:
        with (database, other)[number % 2].transaction() as session:
            session.execute(sa.text("INSERT INTO entry VALUES (:number)"), {"number": number})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(300)))
    with database.read() as session:
        assert session.scalar(sa.text("SELECT count(DISTINCT number) FROM entry")) == 300


def test_the_lock_is_free_after_a_transaction_that_failed(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction():
        _ = 1 / 0
    with pytest.raises(sa.exc.OperationalError), database.transaction() as session:
        session.execute(sa.text("INSERT INTO nothing VALUES (1)"))
    with database.transaction() as session:
        session.execute(sa.text("INSERT INTO entry VALUES (1)"))


def test_a_thread_that_waits_too_long_finds_the_database_unavailable(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "WRITE_TIMEOUT", 0.01)
    with writing_thread(database):
        with pytest.raises(sql.UNAVAILABLE, match="other transactions"), database.transaction():
            pass
        with database.read() as session:
            assert session.scalar(sa.text("SELECT count(*) FROM entry")) == 0


def test_a_transaction_inside_another_one_is_an_error(database: Database) -> None:
    with database.transaction(), pytest.raises(RuntimeError, match="inside another"), database.transaction():
        pass


def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "WRITE_TIMEOUT", 0.01)
    lock = WriteLock()
    monkeypatch.setattr(WriteLock, "_of_files", {"some file": lock})
    holding = lock.held()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(holding.__enter__).result()
        WriteLock.reset()
        with lock.held():
            pass

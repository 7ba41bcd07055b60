"""The foundations that all services share."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from rolecall import checks, clock, events, logs, storage
from rolecall.errors import OAuthError, challenge
from rolecall.http import HttpClient, Unreachable, metadata_url
from rolecall.settings import LAB_MARK, SettingsError
from rolecall.sql import Database
from rolecall.web.errors import failure_reason
from rolecall.web.health import fault_of
from rolecall_auth.settings import Settings as AuthSettings
from rolecall_client.settings import Settings as ClientSettings
from rolecall_lab.launcher.environment import inherited
from support.servers import RedisServer

GOOD = {
    "ISSUER": "https://auth.example.org",
    "DATABASE_URL": "sqlite:///x.db",
    "REDIS_URL": "redis://localhost",
    "SECRET_KEY": "x" * 32,
    "DATA_KEY": Fernet.generate_key().decode(),
}


def test_the_clock_can_be_turned_and_turned_back() -> None:
    before = clock.now()
    clock.set_offset(3600)
    assert clock.now() - before >= 3600
    assert clock.offset() == 3600


def test_all_faults_of_the_settings_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        AuthSettings.from_environ({"ISSUER": "ftp://x", "SECRET_KEY": "short", "CODE_LIFETIME": "-1"})
    text = str(caught.value)
    for expected in ("ISSUER", "DATABASE_URL is not set", "REDIS_URL", "SECRET_KEY is shorter", "CODE_LIFETIME"):
        assert expected in text
    assert "\n" not in text


PRODUCTION_FAULTS = {
    "http issuer": ({"ISSUER": "http://auth.example.org"}, "https"),
    "short secret": ({"SECRET_KEY": "x" * 31}, "shorter"),
    "the lab's secret": ({"SECRET_KEY": LAB_MARK + "x" * 32}, "publishes"),
    "no Fernet key": ({"DATA_KEY": "x" * 44}, "Fernet"),
    "code lives too long": ({"CODE_LIFETIME": "601"}, "ten minutes"),
    "idle longer than all": ({"REFRESH_IDLE_LIFETIME": "99999999"}, "longer"),
    "empty secret": ({"SECRET_KEY": " "}, "not set"),
}


def test_a_client_compares_issuers_with_a_slash_at_the_end_as_they_are() -> None:
    """RFC 8414 section 2."""
    of_client = {
        **GOOD,
        **dict.fromkeys(("PUBLIC_URL", "RESOURCE_URL", "RESOURCE_IDENTIFIER"), "https://somewhere.example"),
        **{"CLIENT_ID": "tally", "CLIENT_SECRET": "y" * 32, "ISSUER": "https://auth.example.org/tenant/"},
    }
    settings = ClientSettings.from_environ(of_client)
    assert settings.issuer == "https://auth.example.org/tenant/"
    assert ClientSettings.from_environ({**of_client, "PUBLIC_URL": "https://tally.example/"}).public_url[-1] != "/"


def test_where_an_issuers_metadata_stand() -> None:
    """RFC 8414 section 3.1."""
    well_known = "/.well-known/oauth-authorization-server"
    assert metadata_url("https://a.example") == f"https://a.example{well_known}"
    assert metadata_url("https://a.example/") == f"https://a.example{well_known}"
    assert metadata_url("https://a.example/one/") == f"https://a.example{well_known}/one"
    assert metadata_url("https://a.example", "http://auth:8001") == f"http://auth:8001{well_known}"
    assert metadata_url("https://a.example/one", "http://auth:8001/one") == f"http://auth:8001{well_known}/one"
    assert metadata_url("https://a.example/one/", "http://auth:8001/one") == f"http://auth:8001{well_known}/one"


@pytest.mark.parametrize(("changes", "says"), PRODUCTION_FAULTS.values(), ids=PRODUCTION_FAULTS.keys())
def test_production_refuses_weak_settings(changes: dict[str, str], says: str) -> None:
    AuthSettings.from_environ(GOOD)
    with pytest.raises(SettingsError, match=says):
        AuthSettings.from_environ({**GOOD, **changes})


def test_no_secret_has_a_default() -> None:
    from rolecall.settings import declared_settings

    for settings in (AuthSettings, ClientSettings):
        for field in declared_settings(settings):
            if field.metadata["secret"]:
                assert field.default in {dataclasses.MISSING, None}, field.name


def test_a_check_refuses_and_is_seen_only_when_watched() -> None:
    check = checks.Check("test.check", "RFC 6749 section 5.2", "invalid_request", "No.")
    notebook = events.Notebook()
    with events.watching(notebook):
        check(True, expected="a", actual="a")
        with pytest.raises(OAuthError) as caught:
            check(False, expected="a", actual="b")
    assert caught.value.error == "invalid_request"
    assert [note["passed"] for note in notebook.notes] == [True, False]
    check.note(True)
    assert len(notebook.notes) == 2


def test_a_check_has_one_name() -> None:
    with pytest.raises(ValueError, match="twice"):
        checks.define("token.code", "x", "invalid_grant", "x")


def test_a_check_knows_the_module_that_declares_it() -> None:
    from rolecall_auth import endpoints
    from rolecall_auth.endpoints import revoke

    assert checks.registry["revoke.own_token"].module == "rolecall_auth.endpoints.revoke"
    assert checks.defined_in(revoke) == (revoke.OWN,)
    assert {revoke.OWN} < {*checks.defined_in(endpoints)}
    assert not checks.defined_in(checks)


def test_error_descriptions_keep_to_their_characters() -> None:
    """RFC 6749 section 5.2: %x20-21 / %x23-5B / %x5D-7E."""
    for bad in ('a "quote"', "a\\b", "é", "a\nb"):
        with pytest.raises(ValueError, match="error_description"):
            OAuthError("invalid_request", bad)
    assert challenge("Bearer", realm='a"b') == 'Bearer realm="a\\"b"'


def test_an_entry_is_taken_once_by_32(redis_url: str) -> None:
    store = storage.Store(storage.connect(redis_url), "test", keep=60)
    store.put("kind", "name", {"a": 1}, 60)
    results: list[object] = []
    barrier = threading.Barrier(32)

    def take() -> None:
        barrier.wait()
        results.append(store.take("kind", "name"))

    threads = [threading.Thread(target=take) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([result for result in results if result]) == 1


def test_entries_end_on_the_clock_and_names_are_hashed(redis_url: str) -> None:
    store = storage.Store(storage.connect(redis_url), "test", keep=60)
    store.put("kind", "the-secret-name", {"a": 1}, 60)
    assert b"the-secret-name" not in b"".join(store.client.keys("*"))
    assert 60 < store.client.ttl(store.key("kind", "the-secret-name")) <= 120
    clock.set_offset(61)
    assert store.get("kind", "the-secret-name") is None
    assert store.take("kind", "the-secret-name") is None
    clock.set_offset(0)


def test_sealed_values_cannot_be_read_and_a_lost_key_reads_as_gone(redis_url: str) -> None:
    def cipher() -> MultiFernet:
        return MultiFernet([Fernet(Fernet.generate_key())])

    store = storage.Store(storage.connect(redis_url), "test", keep=60, cipher=cipher())
    store.put("kind", "name", {"token": "secret-value"}, 60)
    assert b"secret-value" not in store.client.get(store.key("kind", "name"))
    assert storage.Store(store.client, "test", keep=60, cipher=cipher()).get("kind", "name") is None


def test_an_evicting_redis_is_refused(own_redis: RedisServer) -> None:
    client = storage.connect(own_redis.url)
    storage.require_noeviction(client)
    client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(storage.StorageError, match="noeviction"):
        storage.require_noeviction(client)
    own_redis.stop()
    with pytest.raises(storage.StorageError, match="start it"):
        storage.require_noeviction(client)
    with pytest.raises(redis.RedisError):
        client.ping()
    own_redis.start()
    assert client.ping()


@contextmanager
def a_server(answer: bytes) -> Iterator[str]:
    """Run a server that responds to every connection with the same bytes and closes it; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # a client that has read enough closes the connection early
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


BAD_ANSWERS = {
    "not HTTP": b"hello\r\n\r\n",
    "nothing": b"",
    "too large": b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3000000,
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_the_http_client_survives_bad_answers(answer: bytes) -> None:
    with a_server(answer) as url, pytest.raises(Unreachable):
        HttpClient().send("POST", url, form={"a": "b"})


def test_the_http_client_gives_up_in_time_and_follows_no_redirect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="timed out"):
            HttpClient(read=0.05).send("GET", url)
    with pytest.raises(Unreachable):
        HttpClient().send("GET", url)
    with a_server(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as url:
        assert HttpClient().send("GET", url).status == 302


def test_what_is_sent_is_noted_with_its_failure(tmp_path: Path) -> None:
    notebook = events.Notebook()
    with events.watching(notebook), pytest.raises(Unreachable):
        HttpClient(connect=0.2).send("GET", "http://127.0.0.1:9/")
    assert notebook.notes[0]["kind"] == "sent"
    assert notebook.notes[0]["response"] is None
    assert "traceparent" in notebook.notes[0]["headers"]


def test_talkative_loggers_are_held_at_info(capsys: pytest.CaptureFixture[str]) -> None:
    """Below INFO, Authlib prints whole tokens."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.configure("test", "DEBUG")
        logging.getLogger("authlib.oauth2.rfc6749").debug("Issue token %r", "secret-token")
        logging.getLogger("urllib3.connectionpool").debug("secret-url")
        logging.getLogger("rolecall").debug("seen")
        out = capsys.readouterr().out
        assert "secret" not in out
        assert '"message": "seen"' in out
    finally:
        root.handlers[:], root.level = before


def test_long_lines_do_not_mix_with_others() -> None:
    """A pipe takes at most 4,096 bytes at once; a traceback is longer."""
    reading, writing = os.pipe()
    handler = logs._Handler(os.fdopen(writing, "w"))
    handler.setFormatter(logs.formatter("test"))
    received: list[bytes] = []

    def read() -> None:
        while part := os.read(reading, 3000):
            received.append(part)

    def write(text: str) -> None:
        for _ in range(40):
            handler.emit(logging.LogRecord("test", logging.INFO, "", 0, text, (), None))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(f"{number}" * 9000,)) for number in range(8)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    handler.stream.close()
    reader.join()
    os.close(reading)
    lines = b"".join(received).splitlines()
    assert len(lines) == 320
    assert {len({*json.loads(line)["message"]}) for line in lines} == {1}


def test_production_stops_at_bad_settings_with_a_line_each() -> None:
    """With exit code 4, gunicorn does not start the worker again."""
    environ = {**inherited(os.environ), **GOOD, "ISSUER": "http://x.example", "SECRET_KEY": "short", "DATA_KEY": "x"}
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--no-control-socket",
        "--bind=127.0.0.1:0",
        "rolecall_auth.wsgi:app()",
    ]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 4
    lines = [line for line in said.stderr.splitlines() if line.startswith("auth-service: ")]
    assert len(lines) == 3
    assert "Traceback" not in said.stderr


def test_what_is_kept_grows_old_when_the_clock_is_turned_either_way() -> None:
    before, plain = clock.cache_time(), clock.monotonic()
    clock.set_offset(301)
    assert clock.cache_time() - before >= 301
    clock.set_offset(0)
    assert clock.cache_time() - before >= 602
    assert clock.monotonic() - plain < 300


def test_a_failure_is_described_in_one_line(tmp_path: Path) -> None:
    assert failure_reason(redis.ConnectionError("Error 111\nrefused")) == "Redis does not respond: Error 111 refused"
    assert failure_reason(ValueError("two\nlines")) == "two lines"
    assert failure_reason(ValueError()) == "ValueError"
    refused = sa.exc.OperationalError("SELECT 1", {}, Exception("connection refused\n"))
    assert failure_reason(refused) == "the database does not respond: connection refused"
    database = Database(f"sqlite:///{tmp_path}/no/such/folder.db", tmp_path)
    assert fault_of(lambda: database.revision() is None).startswith("the database does not respond: unable to open")
    assert (fault_of(lambda: True), fault_of(lambda: False)) == ("", "the check failed")
    database.engine.dispose()

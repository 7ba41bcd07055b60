"""Stopped stores, killed containers, and wrong settings: the responses are right, and no data is lost."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from rolecall import clock
from rolecall_lab.launcher import containers as in_docker
from rolecall_lab.launcher.environment import inherited
from rolecall_lab.walker import Walker, connect
from support.containers import ROOT, asked_for, docker, healthy, names, production_image, psql, redis_cli, settle
from support.stack import Stack, wait_until
from support.tally_pages import press, statuses, tokens_of_a_native_client

pytestmark = pytest.mark.compose


@pytest.fixture(autouse=True)
def _settled() -> Iterator[None]:
    yield
    if asked_for():
        settle()


def test_redis_stopped_and_emptied_heals_and_forgets_no_revocation(containers: Stack) -> None:
    walker, other = Walker(), Walker()
    page = connect(walker, containers.client, "alice", "wonderland-lab")
    connect(other, containers.client, "bob", "builder-lab")
    before = containers.get(f"{containers.auth}/readyz")[1]
    assert before["status"] == "ready"
    events = containers.events()
    assert events
    docker("compose", "stop", "-t", "2", "redis")
    try:
        for url in (f"{containers.auth}/apps", f"{containers.client}/invoices"):
            refused = walker.open(url)
            assert refused.status == 503
            assert "Try again" in refused.text
        assert containers.get(f"{containers.auth}/healthz")[0] == 200
        assert containers.get(f"{containers.auth}/readyz")[0] == 503
    finally:
        docker("compose", "start", "redis")
    wait_until(lambda: containers.get(f"{containers.auth}/readyz")[0] == 200)
    wait_until(lambda: statuses(walker.open(f"{containers.client}/invoices?check=both")) == ["200", "200"])
    page = press(walker, walker.open(f"{containers.client}/invoices"), containers, "/revoke")
    assert statuses(page) == ["401", "200"]
    redis_cli("DEL", *redis_cli("KEYS", "auth:revoked*").split())
    assert statuses(walker.open(f"{containers.client}/invoices?check=introspection")) == ["401"]
    assert statuses(other.open(f"{containers.client}/invoices?check=introspection")) == ["200"]


def test_an_emptied_redis_forgets_no_revocation(containers: Stack) -> None:
    """SQL has the revocations, and the set that introspection reads is rebuilt before it responds again."""
    revoked, good = (tokens_of_a_native_client(containers)["access_token"] for _ in range(2))
    containers.call("POST", f"{containers.auth}/revoke", f"client_id=tally-desktop&token={revoked}".encode())
    assert (asked(containers, revoked), asked(containers, good)) == (401, 200)
    redis_cli("FLUSHALL")
    assert {asked(containers, revoked) for _ in range(8)} == {401}
    wait_until(lambda: asked(containers, good) == 200)
    docker("compose", "restart", "-t", "2", "redis")
    assert 200 not in {asked(containers, revoked) for _ in range(8)}
    wait_until(lambda: asked(containers, good) == 200)
    assert {asked(containers, revoked) for _ in range(8)} == {401}


def asked(stack: Stack, token: str) -> int:
    """Return the status of the API's response to a token that it introspects."""
    headers = {"Authorization": f"Bearer {token}", "Rolecall-Validator": "introspection"}
    return stack.get(f"{stack.api}/invoices", **headers)[0]


def test_postgres_stopped_is_503_and_heals(containers: Stack) -> None:
    walker = Walker()
    page = connect(walker, containers.client, "alice", "wonderland-lab")
    docker("compose", "stop", "-t", "2", "postgres")
    try:
        assert statuses(walker.open(f"{containers.client}/invoices?check=jwt")) == ["503"]
        refused = press(walker, page, containers, "/refresh")
        assert refused.status >= 500
    finally:
        docker("compose", "start", "postgres")
    wait_until(lambda: statuses(walker.open(f"{containers.client}/invoices?check=both")) == ["200", "200"])
    again = press(walker, walker.open(f"{containers.client}/invoices"), containers, "/refresh")
    assert again.status == 200, "the refresh token was lost"


def test_the_front_names_whom_it_could_not_reach_and_nobody_else(containers: Stack) -> None:
    """The front does not log a 502 or 503 that Tally itself returns."""
    walker = Walker()
    page = connect(walker, containers.client, "alice", "wonderland-lab")
    began = f"{clock.now():.3f}"
    press(walker, page, containers, "/revoke")
    assert walker.open(f"{containers.client}/invoices").status == 502
    docker("compose", "stop", "-t", "2", "resource-service")
    try:
        assert walker.open(f"{containers.client}/invoices?check=jwt").status in {502, 503}
        assert containers.get(f"{containers.api}/invoices?from=2020")[0] == 503
        logged = docker("compose", "logs", "--no-color", "--no-log-prefix", "--since", began, "front")
    finally:
        docker("compose", "start", "resource-service")
    lines = [json.loads(line[line.index("{") :]) for line in logged.splitlines() if '"service": "front"' in line]
    assert {line["detail"] for line in lines} == {"http://resource-service:8002 did not answer"}
    assert {line["path"] for line in lines} == {"/invoices"}, "the log has a query, which may be secret"


@pytest.mark.parametrize("killed", ["auth-service", "client-webapp"])
def test_a_container_killed_while_a_person_decides(containers: Stack, killed: str) -> None:
    """Redis has the person's pending request: the page suggests to try again, and then the flow continues."""
    take_back(containers, "alice", "wonderland-lab")
    walker = Walker()
    page = walker.follow(walker.submit(walker.open(f"{containers.client}/"), f"{containers.client}/connect"))
    page = walker.follow(walker.submit(page, username="alice", password="wonderland-lab"))
    assert "requests access" in page.text
    with all_killed(killed):
        refused = walker.submit(page, decision="allow")
        if killed == "client-webapp":
            while refused.location:
                refused = walker.open(refused.location)
        assert refused.status == 503
        assert "Try again" in refused.text
    again = walker.submit(page, decision="allow") if killed == "auth-service" else walker.open(refused.url)
    page = walker.follow(again)
    assert statuses(page) == ["200"]


def test_a_server_killed_at_work_leaves_nothing_half_made(containers: Stack) -> None:
    """People whose sign-up succeeded can sign in, and revoked access stays revoked, whenever the server was killed."""
    told: dict[str, bool] = {}
    started = threading.Barrier(9)

    def come(number: int) -> tuple[str, Walker]:
        name, walker = f"visitor-{secrets.token_hex(5)}", Walker()
        started.wait(60)
        try:
            page = walker.follow(walker.submit(walker.open(f"{containers.client}/"), f"{containers.client}/connect"))
            page = walker.submit(
                page, page.url.replace("/sign-in", "/sign-up"), username=name, password="a good long one"
            )
            told[name] = page.status in {302, 303}
            page = walker.submit(walker.follow(page), decision="allow")
            walker.follow(page)
        except (OSError, ValueError):
            pass
        return name, walker

    with ThreadPoolExecutor(8) as pool:
        people = [pool.submit(come, number) for number in range(8)]
        started.wait(60)
        with all_killed("auth-service", after=0.25):
            came = [each.result(60) for each in people]
    for name, held in came:
        walker = Walker()
        page = walker.open(f"{containers.auth}/sign-in")
        signed_in = walker.submit(page, username=name, password="a good long one").status in {302, 303}
        if told.get(name):
            assert signed_in, "an account that was created is lost"
        if not signed_in:
            page = walker.open(f"{containers.auth}/sign-up")
            made = walker.submit(page, username=name, password="a good long one")
            assert made.status in {302, 303}, "the name is taken, but signing in with it fails"
        take_back(containers, name, "a good long one")
        assert statuses(held.open(f"{containers.client}/invoices?check=introspection")) in (
            ["401"],
            ["403 Tally is not connected"],
        )


def take_back(stack: Stack, username: str, password: str) -> None:
    """Disconnect every app of a person."""
    walker = Walker()
    page = walker.follow(walker.submit(walker.open(f"{stack.auth}/sign-in"), username=username, password=password))
    assert page.url == f"{stack.auth}/apps"
    for client_id in re.findall(r'name="client_id" value="([^"]+)"', page.text):
        walker.submit(page, f"{stack.auth}/apps/disconnect", client_id=client_id)


@contextmanager
def all_killed(service: str, after: float = 0.0) -> Iterator[None]:
    """Kill every container of a service (SIGKILL), and start them again at the end."""
    found = names(service)
    killer = threading.Timer(after, lambda: docker("kill", *found))
    killer.start()
    if not after:
        killer.join()
    try:
        yield
    finally:
        killer.join()
        docker("start", *found)
        wait_until(lambda: all(healthy(name) for name in found))


STARTS = {
    "DATABASE_URL": "postgresql+psycopg://auth:x@127.0.0.1:9/auth",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "ISSUER": "https://auth.example.org",
    "SECRET_KEY": "a-secret-key-that-is-long-enough-for-this",
    "DATA_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SECRET_KEY": ""}, ["auth-service: SECRET_KEY is not set"]),
        ({"SECRET_KEY": "short"}, ["auth-service: SECRET_KEY is shorter than 32 characters"]),
        ({"SECRET_KEY": "lab-only-" + 32 * "x"}, ["auth-service: SECRET_KEY is a value that the lab publishes"]),
        ({"ISSUER": "http://auth.example.org"}, ["auth-service: ISSUER must be an https URL"]),
        ({"DATA_KEY": "MDEy"}, ["auth-service: DATA_KEY: must be Fernet keys"]),
        ({}, ["cannot start: Redis does not respond", "cannot start: the database does not respond"]),
    ],
)
def test_a_wrong_start_ends_with_one_clear_line_a_fault(change: dict[str, str], said: list[str]) -> None:
    image = production_image("auth-service")
    environ = [part for name, value in (STARTS | change).items() for part in ("-e", f"{name}={value}")]
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *environ, image],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == len(said), lines
    for line, expected in zip(lines, said, strict=True):
        assert line.startswith(expected)


def test_a_redis_that_may_forget_stops_the_start() -> None:
    redis_cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        for service in ("auth-service", "client-webapp", "migrate"):
            lines = start_once(service)
            assert len(lines) == 1, lines
            assert "maxmemory-policy allkeys-lru); set it to noeviction" in lines[0]
        done = doctor()
        assert done.returncode == 1
        assert "Redis may evict data (maxmemory-policy allkeys-lru)" in done.stdout
    finally:
        redis_cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
    wait_until(lambda: doctor().returncode == 0)


def test_the_doctor_names_a_container_that_has_stopped() -> None:
    with all_killed("resource-service"):
        done = doctor()
        assert done.returncode == 1
        for name in names_of_all("resource-service"):
            assert f"{name} is exited" in done.stdout
        assert "gets no response from resource-service" in done.stdout
    wait_until(lambda: doctor().returncode == 0)


def doctor() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rolecall_lab.launcher.doctor"],
        cwd=ROOT,
        env=inherited(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def names_of_all(service: str) -> list[str]:
    return [each.name for each in in_docker.all_containers() if each.service == service]


def test_a_second_migrate_at_once_stops_with_one_clear_line() -> None:
    lock = "SELECT pg_advisory_lock(72176); SELECT pg_sleep(60)"
    with subprocess.Popen(
        ["docker", "compose", "exec", "-T", "postgres", "psql", "-qU", "postgres", "-d", "auth", "-c", lock],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        try:
            held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            wait_until(lambda: psql(held) == "1")
            lines = start_once("migrate")
            assert len(lines) == 1, lines
            assert lines[0].startswith("another process is migrating this database; wait until it has finished")
        finally:
            psql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            first.wait(60)
    assert start_once("migrate", code=0) == []


def start_once(service: str, code: int | None = None) -> list[str]:
    """Start one more container of a service; return the lines that it printed before it exited."""
    done = subprocess.run(
        ["docker", "compose", "run", "--rm", "-T", "--no-deps", service],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode == code) if code is not None else done.returncode
    lines = (done.stdout + done.stderr).strip().splitlines()
    return [line for line in lines if not re.match(r" ?(Container|Network) ", line)]

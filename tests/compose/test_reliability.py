"""Faults under load: nothing durable is lost, nothing is used twice, and all goes on by itself.

With `FIGURES=file` the measured figures are added to that file, a line of Markdown each; docs/reliability.md has them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from compose.test_faults import healthy, psql, redis_cli
from containers import docker, names
from load import Load
from rolecall import clock
from rolecall_lab import containers as in_docker
from stack import Stack, wait_until

pytestmark = pytest.mark.compose

DURING = 3.0
"""Seconds that a fault lasts."""

KILL_WORKERS = """
import os, pathlib
lines = {p: (p / "cmdline").read_text().split("\\0") for p in pathlib.Path("/proc").glob("[0-9]*")}
workers = [p for p, line in lines.items() if "python" in line[0] and any("bin/gunicorn" in each for each in line)]
parents = {p.name: (p / "stat").read_text().rpartition(")")[2].split()[1] for p in workers}
for pid, parent in parents.items():
    if parent in parents:
        os.kill(int(pid), 9)
"""


@contextmanager
def workers_killed(*services: str) -> Iterator[None]:
    """kill -9 for each worker; their masters start others."""
    for service in services:
        for name in names(service):
            docker("exec", name, "python", "-c", KILL_WORKERS)
    yield


@contextmanager
def stopped(service: str) -> Iterator[None]:
    docker("compose", "stop", "-t", "2", service)
    try:
        yield
    finally:
        docker("compose", "start", service)


@contextmanager
def paused(service: str) -> Iterator[None]:
    """It hangs: connections stay open and nobody answers."""
    docker("compose", "pause", service)
    try:
        yield
    finally:
        docker("compose", "unpause", service)


@contextmanager
def slow(service: str) -> Iterator[None]:
    """It answers, but often late."""
    for _ in range(3):
        with paused(service):
            time.sleep(0.3)
        time.sleep(0.3)
    yield


@contextmanager
def redis_full() -> Iterator[None]:
    redis_cli("CONFIG", "SET", "maxmemory", "1mb")
    try:
        yield
    finally:
        redis_cli("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def redis_refusing() -> Iterator[None]:
    """It answers every command with an error."""
    users = ("auth", "client", "resource")
    for user in users:
        redis_cli("ACL", "SETUSER", user, "-@all")
    try:
        yield
    finally:
        redis_cli("ACL", "LOAD")


@contextmanager
def redis_emptied() -> Iterator[None]:
    redis_cli("FLUSHALL")
    yield


@contextmanager
def postgres_read_only() -> Iterator[None]:
    """As when its disk is full, or as a replica is that was not yet promoted."""
    for database in ("auth", "resource"):
        psql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    hang_up()
    try:
        yield
    finally:
        for database in ("auth", "resource"):
            psql(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        hang_up()


def hang_up() -> None:
    psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('auth', 'resource')")


@contextmanager
def postgres_hangs_up() -> Iterator[None]:
    """All its connections are cut."""
    hang_up()
    yield


@contextmanager
def cut_off(service: str, network: str = "services") -> Iterator[None]:
    """A service is taken out of a network: that in which the services talk, or the one of a store."""
    found = names(service)
    [config] = json.loads(docker("inspect", found[0]))
    full_name = next(name for name in config["NetworkSettings"]["Networks"] if name.endswith(f"_{network}"))
    for name in found:
        docker("network", "disconnect", full_name, name)
    try:
        yield
    finally:
        for name in found:
            docker("network", "connect", "--alias", service, full_name, name)


@contextmanager
def clock_ahead() -> Iterator[None]:
    """The API's containers are made anew with a clock that is two minutes ahead, and afterwards with a right one."""
    try:
        os.environ["RESOURCE_CLOCK_SKEW"] = "120"
        docker("compose", "up", "--detach", "--no-deps", "--wait", "resource-service")
        yield
    finally:
        del os.environ["RESOURCE_CLOCK_SKEW"]
        docker("compose", "up", "--detach", "--no-deps", "--wait", "resource-service")


REDIS = r"Redis does not answer: "
SQL = r"the database does not answer: "
AWAY = r"\S* did not answer"

FAULTS: dict[str, tuple[Callable[[], AbstractContextManager[None]], str]] = {
    "every worker killed": (
        lambda: workers_killed("auth-service", "resource-service", "client-webapp"),
        r"Worker \(pid:\d+\) was sent SIGKILL",
    ),
    "Redis stopped": (lambda: stopped("redis"), REDIS),
    "Redis hangs": (lambda: paused("redis"), REDIS + ".*Timeout"),
    "Redis slow": (lambda: slow("redis"), ""),
    "Redis full": (redis_full, ""),
    "Redis answers errors": (redis_refusing, REDIS + ".*permission"),
    "Redis emptied": (redis_emptied, "revocations rebuilt"),
    "PostgreSQL stopped": (lambda: stopped("postgres"), SQL),
    "PostgreSQL hangs": (lambda: paused("postgres"), ""),
    "PostgreSQL slow": (lambda: slow("postgres"), ""),
    "PostgreSQL read-only": (postgres_read_only, SQL + ".*read-only"),
    "PostgreSQL hangs up": (postgres_hangs_up, ""),
    "authorization server cut off": (
        lambda: cut_off("auth-service"),
        "auth-service" + AWAY,
    ),
    "resource server cut off": (
        lambda: cut_off("resource-service"),
        "resource-service" + AWAY,
    ),
    "authorization server cut off from Redis": (lambda: cut_off("auth-service", "redis"), REDIS),
    "authorization server cut off from PostgreSQL": (lambda: cut_off("auth-service", "auth-sql"), SQL),
    "API cut off from Redis": (lambda: cut_off("resource-service", "redis"), ""),
    "API's clock two minutes ahead": (clock_ahead, ""),
    "API cut off from PostgreSQL": (lambda: cut_off("resource-service", "resource-sql"), SQL),
}
"""What is done, and what the log must say of it; empty where it need not say anything: requests are late, or pass."""


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost(containers: Stack, fault: str) -> None:
    bring_about, told = FAULTS[fault]
    began = f"{clock.now():.3f}"
    with Load(containers) as load:
        load.wait_for(30)
        with bring_about():
            time.sleep(DURING)
        recovered = load.wait_for(30)
    wait_until(lambda: all(each.is_well for each in in_docker.everything()), 40)
    load.all_go_on()
    figures = load.figures
    assert not figures.lost
    assert not figures.unexpected
    assert re.search(told, docker("compose", "logs", "--no-log-prefix", "--since", began)), "the log does not tell it"
    if target := os.environ.get("FIGURES"):
        row = f"| {fault} | {figures.sent} | {figures.refused} | {len(figures.lost)} | {figures.slowest:.1f} s | {recovered:.1f} s |\n"  # noqa: E501
        with Path(target).open("a") as file:
            file.write(row)


def test_containers_that_are_replaced_one_by_one_refuse_nobody(containers: Stack) -> None:
    """A graceful stop finishes what runs; the front sends what comes to the others."""
    found = names("auth-service")
    if len(found) < 2:
        pytest.skip("needs several containers of the authorization server")
    with Load(containers) as load:
        load.wait_for(30)
        for name in found:
            docker("restart", name)
            wait_until(lambda name=name: healthy(name), 40)
        load.wait_for(30)
    assert not load.figures.lost
    assert not load.figures.unexpected
    assert load.figures.refused == 0
    load.all_go_on()


def test_keys_rotate_under_load_and_no_token_is_refused(containers: Stack) -> None:
    """RFC 9068 section 4; published, then signing, then verifying, while people work."""
    from compose.test_replicas import may_rotate, rotated

    try:
        may_rotate(containers)  # before anybody holds a token
        with Load(containers) as load:
            load.wait_for(30)
            rotated(containers)
            load.wait_for(30)
            for _ in range(6):
                # never further than a token lives: those that people hold stay good
                with load.still():
                    containers.call("PUT", f"{containers.auth}/_lab/clock", b'{"advance": 61}')
                load.wait_for_new_tokens()
        load.all_go_on()
    finally:
        containers.call("DELETE", f"{containers.auth}/_lab/clock", None)
    assert not load.figures.lost
    assert not load.figures.unexpected
    assert load.figures.refused == 0


def test_a_code_is_used_once_though_workers_die(containers: Stack) -> None:
    """RFC 6749 section 4.1.2: while workers are killed, of many presentations at most one gives tokens."""
    from pages import code_of_a_native_client, redeem_of_a_native_client

    code = code_of_a_native_client(containers)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(redeem_of_a_native_client, containers, code) for _ in range(8)]
        with workers_killed("auth-service"):
            statuses = [each.result(30) for each in asked]
    assert statuses.count(200) <= 1
    wait_until(lambda: containers.get(f"{containers.auth}/readyz")[0] == 200, 20)
    assert redeem_of_a_native_client(containers, code) == 400

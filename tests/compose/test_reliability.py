"""Faults under load: no durable data is lost, no code is accepted twice, and the services recover by themselves.

With `FIGURES=file`, each test adds a Markdown row with its figures to that file; docs/reliability.md has the table.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rolecall import clock
from rolecall_lab.launcher import containers as in_docker
from support.containers import PSQL, ROOT, docker, healthy, may_rotate, names, psql, redis_cli, rotated
from support.containers import stack as in_containers
from support.load import Load
from support.people import six
from support.stack import Stack, wait_until

pytestmark = pytest.mark.compose

DURING = 2.5
"""The duration of a fault in seconds."""

DATABASES = ("auth", "resource")
"""The databases in PostgreSQL; each has a role of the same name."""

HANG_UP = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename IN ('auth', 'resource')"

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
    """Kill each worker with SIGKILL; gunicorn starts new ones."""
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
    """Let a service hang: connections stay open, but get no response."""
    docker("compose", "pause", service)
    try:
        yield
    finally:
        docker("compose", "unpause", service)


@contextmanager
def standing_still(service: str, process: str) -> Iterator[None]:
    """Slow a service down: it is stopped for four fifths of the time, 0.2 seconds at a time."""
    which = f"$(pidof {process})"
    times = " ".join(map(str, range(int(DURING / 0.25))))
    loop = f"for _ in {times}; do kill -s STOP {which}; sleep 0.2; kill -s CONT {which}; sleep 0.05; done"
    user = process.removesuffix("-server")
    with throughout("compose", "exec", "-T", "--user", user, service, "sh", "-c", loop):
        yield


@contextmanager
def throughout(*arguments: str) -> Iterator[None]:
    """Run a docker command during the block, and wait for its end."""
    with subprocess.Popen(
        ["docker", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as running:
        yield
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 0, said


@contextmanager
def redis_full() -> Iterator[None]:
    redis_cli("CONFIG", "SET", "maxmemory", "1mb")
    try:
        yield
    finally:
        redis_cli("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def redis_refusing() -> Iterator[None]:
    """Let Redis return an error for every command."""
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
    """Let every write fail, as with a full disk, or on a replica that is not yet promoted."""
    for database in DATABASES:
        psql(f"ALTER DATABASE {database} SET default_transaction_read_only = on; {HANG_UP}")
    try:
        yield
    finally:
        for database in DATABASES:
            psql(f"ALTER DATABASE {database} RESET default_transaction_read_only; {HANG_UP}")


@contextmanager
def postgres_refusing() -> Iterator[None]:
    """Let PostgreSQL return an error for every query: the roles of the services lose the access to their tables."""
    for database in DATABASES:
        psql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {database}", database)
    try:
        yield
    finally:
        for database in DATABASES:
            psql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {database}", database)


@contextmanager
def postgres_emptied() -> Iterator[None]:
    """Hide all tables during the block."""
    for database in DATABASES:
        psql("ALTER SCHEMA public RENAME TO saved; CREATE SCHEMA public AUTHORIZATION pg_database_owner", database)
    try:
        yield
    finally:
        for database in DATABASES:
            psql("DROP SCHEMA public; ALTER SCHEMA saved RENAME TO public", database)


@contextmanager
def postgres_hanging_up() -> Iterator[None]:
    """Close all connections to PostgreSQL, again and again."""
    step = f"PERFORM pg_stat_clear_snapshot(); PERFORM ({HANG_UP}); PERFORM pg_sleep(0.1)"
    with throughout(*PSQL, f"DO $$ BEGIN FOR _ IN 1..{int(DURING / 0.1)} LOOP {step}; END LOOP; END $$"):
        yield


@contextmanager
def cut_off(service: str, network: str = "services") -> Iterator[None]:
    """Disconnect a service from a network: that of the services, or that of a store."""
    found = names(service)
    full_name = next(name for name in networks(found[0]) if name.endswith(f"_{network}"))
    for name in found:
        docker("network", "disconnect", full_name, name)
    try:
        yield
    finally:
        for name in found:
            docker("network", "connect", "--alias", service, full_name, name)


def networks(name: str) -> dict[str, str]:
    """Return the networks of a container, and its address in each."""
    [config] = json.loads(docker("inspect", name))
    return {network: told["IPAddress"] for network, told in config["NetworkSettings"]["Networks"].items()}


ROUTE = """
import socket, struct, sys
verb, *addresses = sys.argv[1:]
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
for address in addresses:
    to = struct.pack("HH4s", 8, 1, socket.inet_aton(address))
    route = struct.pack("8BI", socket.AF_INET, 32, 0, 0, 254, 4, 0, 6, 0)
    kernel.send(struct.pack("IHHII", 36, {"add": 24, "delete": 25}[verb], 0x405, 1, 0) + route + to)
    [error] = struct.unpack_from("i", kernel.recv(4096), 16)
    if error:
        raise OSError(-error, address)
"""
"""A program that adds or deletes blackhole routes like `ip route add blackhole`; no image here has `ip`."""


@contextmanager
def cut_between(asking: str, asked: str) -> Iterator[None]:
    """Silently drop the packets that `asked` sends to `asking`; all other services still reach both."""
    addresses = [address for name in names(asking) for address in networks(name).values()]
    inside = [
        ("run", "--rm", "--user", "0", "--cap-add", "NET_ADMIN", "--network", f"container:{name}")
        for name in names(asked)
    ]
    for each in inside:
        docker(*each, "rolecall-lab", "python", "-c", ROUTE, "add", *addresses)
    try:
        yield
    finally:
        for each in inside:
            docker(*each, "rolecall-lab", "python", "-c", ROUTE, "delete", *addresses)


@contextmanager
def clock_off(url: str, seconds: int) -> Iterator[None]:
    """Turn the clock of one service, and turn it back at the end; the other services keep their time.

    Args:
        url: the attribute of a stack with the URL of the service: `auth`, `api`, or `client`.
    """
    stack = in_containers()
    here = getattr(stack, url)
    for user in {"auth": "auth", "api": "resource", "client": "client"}.items():
        if user[0] != url:
            redis_cli("ACL", "SETUSER", user[1], "resetchannels")
    try:
        turn(here, seconds)
        yield
        turn(here, -seconds)
    finally:
        redis_cli("ACL", "LOAD")
        wait_until(lambda: turn(here, 0) == stack.workers)


def turn(url: str, seconds: int) -> int:
    """Advance the lab's clock; return how many processes have applied the change."""
    status, answer = in_containers().call("PUT", f"{url}/_lab/clock", json.dumps({"advance": seconds}).encode())
    assert status == 200, answer
    return int(answer["workers"])


REDIS = r"Redis does not respond: "
SQL = r"the database does not respond: "
AWAY = r"\S* did not answer"
FUTURE = r"invalid_token.*token\.iat"


@dataclass(frozen=True)
class Fault:
    """A fault, and its expected effects.

    Args:
        told: a pattern that must be in the log; None if no request may be refused, so there is nothing to log.
        refuse: the only services that may refuse requests, of server, API, and Tally.
        also: see `Load.under`; so is `forgets`.
        lasts: seconds; longer than usual if a service has a longer timeout.
    """

    bring_about: Callable[[], AbstractContextManager[None]]
    told: str | None
    refuse: Collection[str] = ("server", "API", "Tally")
    also: Collection[tuple[str, int]] = ()
    forgets: bool = False
    lasts: float = DURING


CUT = (("server", 0), ("API", 0), ("Tally", 0))
"""Connections that end in the middle of a response, because its sender is dead or unreachable."""

NOT_YET_GOOD = (("API", 401), ("Tally", 502))
"""The status with which the API rejects a token issued in the future, and that of Tally's page about it."""

FAULTS: dict[str, Fault] = {
    "every worker killed": Fault(
        lambda: workers_killed("auth-service", "resource-service", "client-webapp"),
        r"Worker \(pid:\d+\) was sent SIGKILL",
        also=CUT,
    ),
    "Redis stopped": Fault(lambda: stopped("redis"), REDIS),
    "Redis hangs": Fault(lambda: paused("redis"), REDIS + ".*Timeout"),
    "Redis slow": Fault(lambda: standing_still("redis", "redis-server"), None),
    "Redis full": Fault(redis_full, REDIS + ".*maxmemory"),
    "Redis answers errors": Fault(redis_refusing, REDIS + ".*permission"),
    "Redis emptied": Fault(redis_emptied, "revocations rebuilt", forgets=True),
    "PostgreSQL stopped": Fault(lambda: stopped("postgres"), SQL),
    "PostgreSQL hangs": Fault(lambda: paused("postgres"), SQL, lasts=5.0),
    "PostgreSQL slow": Fault(lambda: standing_still("postgres", "postgres"), None),
    "PostgreSQL full": Fault(postgres_read_only, SQL + ".*read-only"),
    "PostgreSQL answers errors": Fault(postgres_refusing, SQL + ".*permission denied"),
    "PostgreSQL emptied": Fault(postgres_emptied, SQL + ".*does not exist"),
    "PostgreSQL hangs up": Fault(postgres_hanging_up, SQL),
    "authorization server cut off": Fault(lambda: cut_off("auth-service"), "auth-service" + AWAY, also=CUT),
    "resource server cut off": Fault(lambda: cut_off("resource-service"), "resource-service" + AWAY, also=CUT),
    "authorization server cut off from Redis": Fault(lambda: cut_off("auth-service", "redis"), REDIS),
    "authorization server cut off from PostgreSQL": Fault(lambda: cut_off("auth-service", "auth-sql"), SQL),
    "API cut off from Redis": Fault(
        lambda: cut_off("resource-service", "redis"), "lab clock is not synchronized", ("API", "Tally")
    ),
    "API cut off from PostgreSQL": Fault(lambda: cut_off("resource-service", "resource-sql"), SQL, ("API", "Tally")),
    "Tally cut off from the authorization server": Fault(
        lambda: cut_between("client-webapp", "auth-service"),
        r"unreachable.*timed out",
        ("Tally",),
        lasts=6.5,
    ),
    "API cut off from the authorization server": Fault(
        lambda: cut_between("resource-service", "auth-service"), "introspection: ", ("API", "Tally")
    ),
    "authorization server's clock two minutes ahead": Fault(
        lambda: clock_off("auth", 120), FUTURE, ("API", "Tally"), NOT_YET_GOOD, forgets=True
    ),
    # a code that is not yet redeemed expires when the clock leaps forward, at the start or the end of the fault
    "authorization server's clock two minutes behind": Fault(lambda: clock_off("auth", -120), None, forgets=True),
    "API's clock two minutes ahead": Fault(lambda: clock_off("api", 120), None),
    "API's clock two minutes behind": Fault(lambda: clock_off("api", -120), FUTURE, ("API", "Tally"), NOT_YET_GOOD),
    "Tally's clock two minutes ahead": Fault(lambda: clock_off("client", 120), None),
    "Tally's clock two minutes behind": Fault(
        lambda: clock_off("client", -120), "issued in the future", ("Tally",), [("Tally", 502)]
    ),
}


@pytest.fixture(scope="module")
def load(containers: Stack) -> Load:
    """Return people who keep their tokens and sessions through all tests of this module."""
    return Load(containers, six)


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost(load: Load, name: str) -> None:
    fault = FAULTS[name]
    began = f"{clock.now() - clock.offset():.3f}"
    with load.under(also=fault.also, forgets=fault.forgets):
        wait_until(lambda: load.figures.sent >= 3 * len(load.people))
        with fault.bring_about():
            time.sleep(fault.lasts)
        recovered = load.wait_for_everybody()
    wait_until(lambda: all(each.is_healthy for each in in_docker.all_containers()))
    load.look_back()
    figures = load.figures
    assert not figures.lost
    assert not figures.unexpected
    refused = {party: number for party, number in figures.refused.items() if number}
    assert refused.keys() <= ({*fault.refuse} if fault.told else set())
    if fault.told:
        logged = docker("compose", "logs", "--no-log-prefix", "--since", began)
        assert re.search(fault.told, logged), "the log does not show the fault"
    if target := os.environ.get("FIGURES"):
        who = ", ".join(f"{party} {refused[party]}" for party in ("server", "API", "Tally") if party in refused)
        row = f"| {name} | {figures.sent} | {who or 0} | {len(figures.lost)} | {figures.slowest:.1f} s | {recovered:.1f} s |\n"  # noqa: E501
        with Path(target).open("a") as file:
            file.write(row)


@pytest.mark.replicas
def test_containers_that_are_replaced_one_by_one_refuse_nobody(containers: Stack, load: Load) -> None:
    """A graceful stop finishes the running requests; the front sends new ones to the other containers."""
    found = names("auth-service")
    if len(found) < 2:
        pytest.skip("needs several containers of the authorization server")
    with load.under():
        load.wait_for_everybody()
        for name in found:
            docker("restart", name)
            wait_until(lambda name=name: healthy(name), 90)
        load.wait_for_everybody()
    load.look_back()
    nobody_was_refused(load)


def nobody_was_refused(load: Load) -> None:
    assert not load.figures.lost
    assert not load.figures.unexpected
    assert not +load.figures.refused


def test_keys_rotate_under_load_and_no_token_is_refused(containers: Stack, load: Load) -> None:
    """RFC 9068 section 4; the keys are published, sign, verify, and are removed, while people work."""

    try:
        may_rotate(containers)
        with load.under():
            load.wait_for_everybody()
            new = rotated(containers)
            load.wait_for_everybody()
            before = load.keys.published - new
            for _ in range(12):
                # never further than the lifetime of a token, so that people's tokens stay valid
                load.turn_the_clock(61)
                load.wait_for_everybody()
                if not before & load.keys.published:
                    break
            assert not before & load.keys.published
            assert before & load.keys.signed, "no old key has signed"
            assert new & load.keys.signed, "no new key signs"
        load.look_back()
    finally:
        containers.call("DELETE", f"{containers.auth}/_lab/clock", None)
    nobody_was_refused(load)


def test_a_code_is_used_once_though_workers_die(containers: Stack) -> None:
    """RFC 6749 section 4.1.2: while workers are killed, at most one of many requests with the code returns tokens."""
    from support.tally_pages import code_of_a_native_client, redeem_of_a_native_client

    code = code_of_a_native_client(containers)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(redeem_of_a_native_client, containers, code) for _ in range(8)]
        with workers_killed("auth-service"):
            statuses = [each.result(60) for each in asked]
    assert statuses.count(200) <= 1
    wait_until(lambda: containers.get(f"{containers.auth}/readyz")[0] == 200)
    assert redeem_of_a_native_client(containers, code) == 400

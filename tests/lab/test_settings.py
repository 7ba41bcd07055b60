from __future__ import annotations

import pytest

from rolecall.settings import SettingsError
from rolecall_lab.settings import LabSettings, refuse_public

ENVIRON = {"LAB_KEY": "lab-only-key", "REDIS_URL": "redis://localhost/0"}


@pytest.mark.parametrize("host", ["localhost:8001", "127.0.0.1", "[::1]:80", "auth.localhost", "auth.test:8001"])
def test_local_addresses_are_welcome(host: str) -> None:
    refuse_public([f"http://{host}"])


@pytest.mark.parametrize(
    "host", ["auth.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0", "auth-service", "testing"]
)
def test_no_lab_where_others_could_reach_it(host: str) -> None:
    with pytest.raises(SettingsError, match="not a local address"):
        refuse_public([f"http://{host}"])
    with pytest.raises(SettingsError):
        LabSettings.from_environ({**ENVIRON, "AUTH_URL": f"http://{host}"}, role="client")


@pytest.mark.parametrize(("host", "good"), [("auth-service:8000", True), ("auth.example", False), ("134744072", False)])
def test_a_containers_name_is_for_the_back_channel_only(host: str, good: bool) -> None:
    if good:
        lab = LabSettings.from_environ({**ENVIRON, "AUTH_BACKCHANNEL_URLS": f"http://{host}"}, role="client")
        assert lab.role_of(f"http://{host}/token") == "authorization_server"
    else:
        with pytest.raises(SettingsError):
            refuse_public([], [f"http://{host}"])


def test_redis_of_its_own_or_that_of_the_service() -> None:
    assert LabSettings.from_environ(ENVIRON, role="client").lab_redis_url == "redis://localhost/0"
    other = {**ENVIRON, "LAB_REDIS_URL": "redis://localhost/1"}
    assert LabSettings.from_environ(other, role="client").lab_redis_url == "redis://localhost/1"


def test_a_missing_key_is_a_fault() -> None:
    with pytest.raises(SettingsError, match="LAB_KEY is not set"):
        LabSettings.from_environ({"REDIS_URL": "redis://localhost/0"}, role="client")


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("http://localhost:8000/callback", "client"),
        ("localhost:8001", "authorization_server"),
        ("http://LOCALHOST:8002", "resource_server"),
        ("http://localhost:8009", "other"),
        ("http://auth.test:80/token", "other"),
        ("http://[bad", "other"),
        ("", "other"),
    ],
)
def test_whose_an_address_is(address: str, role: str) -> None:
    assert LabSettings.from_environ(ENVIRON, role="client").role_of(address) == role


def test_the_default_port_may_be_left_out() -> None:
    lab = LabSettings.from_environ({**ENVIRON, "AUTH_URL": "http://auth.test"}, role="client")
    assert lab.role_of("http://auth.test:80/token") == lab.role_of("auth.test") == "authorization_server"

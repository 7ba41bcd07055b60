"""The settings that the launcher gives to each service, and the inputs of the preparation of the databases."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from rolecall.settings import LAB_MARK, ServiceSettings, SettingsError
from rolecall_lab.launcher import environment, run
from rolecall_lab.launcher.environment import AUTH, CLIENT, RESOURCE, SERVICES, compose, of_service, read_env
from rolecall_lab.settings import LabSettings

PORTS = {CLIENT: 8000, AUTH: 8001, RESOURCE: 8002}


def settings_with(environ: dict[str, str] | None = None, hosts: str = "localhost", data: str = "/d") -> dict[str, str]:
    published = read_env(environment.LAB_ENV)
    return compose(environ or {}, published, hosts=hosts, ports=PORTS, redis_url="unix:///r", data=Path(data))


def service_settings() -> list[tuple[environment.Service, type[ServiceSettings]]]:
    import rolecall_auth.settings
    import rolecall_client.settings
    import rolecall_resource.settings

    return [
        (AUTH, rolecall_auth.settings.Settings),
        (RESOURCE, rolecall_resource.settings.Settings),
        (CLIENT, rolecall_client.settings.Settings),
    ]


@pytest.mark.parametrize("hosts", environment.HOSTS)
def test_each_service_accepts_what_it_gets(hosts: str) -> None:
    for service, cls in service_settings():
        environ = of_service(service, settings_with(hosts=hosts), {})
        assert cls.from_environ(environ, lab=True).lab
        lab = LabSettings.from_environ(environ, role="client")
        assert lab.role_of("http://127.0.0.1:8001") == "authorization_server"


def test_tally_uses_another_provider() -> None:
    """RFC 8707 section 2: another provider gets neither the lab's address nor the lab's API, unless they are set."""
    issuer = {"CLIENT_WEBAPP_ISSUER": "http://localhost:3000"}
    settings = settings_with(issuer)
    assert settings["CLIENT_WEBAPP_ISSUER"] == "http://localhost:3000"
    assert settings["RESOURCE_SERVICE_ISSUER"] == "http://localhost:8001"
    more = {"CLIENT_WEBAPP_BACKCHANNEL_URL": "http://p:3000", "CLIENT_WEBAPP_RESOURCE_IDENTIFIER": "http://api"}
    assert settings.keys().isdisjoint(more)
    assert settings_with(issuer | more).items() >= more.items()
    assert settings_with({"CLIENT_WEBAPP_ISSUER": "http://localhost:8001"}).keys() >= more.keys()


def test_production_refuses_every_secret_of_the_lab() -> None:
    for service, cls in service_settings():
        environ = of_service(service, settings_with(), {})
        secrets = [
            name
            for field in dataclasses.fields(cls)
            if field.metadata.get("secret") and (name := field.name.upper()) in environ
        ]
        with pytest.raises(SettingsError) as refused:
            cls.from_environ(environ)
        for name in {*secrets} & {*environ}:
            assert any(name in fault and "lab publishes" in fault for fault in refused.value.faults), name


def test_the_published_values_are_marked_and_of_use() -> None:
    published = read_env(environment.LAB_ENV)
    for name, value in published.items():
        assert value.startswith(LAB_MARK), name
        if name.endswith("_DATA_KEY"):
            Fernet(value)
    assert len(set(published.values())) == len(published)


def test_no_service_gets_the_secrets_of_another_one() -> None:
    settings = settings_with()
    terminal = {"AUTH_SERVICE_SECRET_KEY": "from the terminal", "PATH": "/bin", "GUNICORN_CMD_ARGS": "--reload"}
    for service in SERVICES:
        own = of_service(service, settings, terminal)
        foreign = {value for name, value in settings.items() for other in SERVICES
                   if other != service and name.startswith(other.prefix) and value.startswith(LAB_MARK)}  # fmt: skip
        assert foreign.isdisjoint(own.values())
        assert "from the terminal" not in own.values()
        assert own["PATH"] == "/bin"
        assert "GUNICORN_CMD_ARGS" not in own


def test_the_terminal_goes_before_the_file_and_the_others_follow() -> None:
    settings = settings_with(
        {
            "AUTH_SERVICE_ISSUER": "http://as.test",
            "RESOURCE_SERVICE_RESOURCE_IDENTIFIER": "http://invoices.test",
            "CLIENT_WEBAPP_CLIENT_SECRET": "mine",
            "LAB_KEY": "",
        }
    )
    client = of_service(CLIENT, settings, {})
    assert client["ISSUER"] == client["AUTH_URL"] == of_service(RESOURCE, settings, {})["ISSUER"] == "http://as.test"
    assert client["RESOURCE_IDENTIFIER"] == "http://invoices.test"
    assert client["CLIENT_SECRET"] == "mine"
    assert client["LAB_KEY"].startswith(LAB_MARK)  # an empty value counts as not set


def test_names_change_the_public_addresses_alone() -> None:
    plain, names = settings_with(), settings_with(hosts="localhost-names")
    assert plain["AUTH_SERVICE_ISSUER"] == "http://localhost:8001"
    assert names["AUTH_SERVICE_ISSUER"] == "http://auth.localhost:8001"
    assert names["CLIENT_WEBAPP_PUBLIC_URL"] == "http://app.localhost:8000"
    assert names["RESOURCE_SERVICE_PUBLIC_URL"] == names["CLIENT_WEBAPP_RESOURCE_URL"] == "http://api.localhost:8002"
    inside = [name for name in plain if "BACKCHANNEL" in name]
    assert len(inside) == 7
    assert names["CLIENT_WEBAPP_RESOURCE_IDENTIFIER"] == names["RESOURCE_SERVICE_PUBLIC_URL"]
    assert [plain[name] for name in inside] == [names[name] for name in inside]


def test_the_fingerprint_changes_with_all_that_preparing_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FOLDERS", (str(tmp_path / "code"),))
    (tmp_path / "code/migrations").mkdir(parents=True)
    script, seeds = tmp_path / "code/migrations/0001_first.py", tmp_path / "code/seeds.yaml"
    script.write_text("one")
    seeds.write_text("secret: ${MINE}")
    settings = settings_with(data=str(tmp_path))
    databases = [tmp_path / f"{service.name}.db" for service in (AUTH, RESOURCE)]
    assert run.fingerprint(settings, {}) is None
    for path in databases:
        path.touch()
    first = run.fingerprint(settings, {})
    assert first is not None
    assert run.fingerprint({**settings, "AUTH_SERVICE_REDIS_URL": "redis://other"}, {"OTHER": "x"}) == first

    seen = {first, run.fingerprint({**settings, "CLIENT_WEBAPP_PUBLIC_URL": "http://other.test"}, {})}
    seen.add(run.fingerprint(settings, {"MINE": "x"}))
    script.write_text("two")
    seen.add(run.fingerprint(settings, {}))
    seeds.write_text("secret: other")
    seen.add(run.fingerprint(settings, {}))
    (tmp_path / "more.yaml").write_text("people: []")
    seen.add(run.fingerprint(settings, {"SEEDS_FILE": str(tmp_path / "more.yaml")}))
    assert len(seen) == 6
    assert None not in seen

    databases[0].unlink()
    assert run.fingerprint(settings, {}) is None
    assert run.fingerprint({**settings, "AUTH_SERVICE_DATABASE_URL": "postgresql://x/y"}, {}) is None


def test_at_another_provider_tally_registers_itself() -> None:
    """RFC 7591: the client ID and secret of the seeds are only for the lab's authorization server."""
    foreign = {"CLIENT_WEBAPP_ISSUER": "http://localhost:3000"}
    own = of_service(environment.CLIENT, settings_with(foreign), foreign)
    assert {"CLIENT_ID", "CLIENT_SECRET", "BACKCHANNEL_URL", "RESOURCE_IDENTIFIER"}.isdisjoint(own)
    registered = {**foreign, "CLIENT_WEBAPP_CLIENT_ID": "one", "CLIENT_WEBAPP_CLIENT_SECRET": "two"}
    own = of_service(environment.CLIENT, settings_with(registered), registered)
    assert (own["CLIENT_ID"], own["CLIENT_SECRET"]) == ("one", "two")

"""A row in the table of rate limits is enough: its setting, documentation, default in the lab, and 429 follow."""

from __future__ import annotations

import dataclasses
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest
from cryptography.fernet import Fernet
from limits import parse

from rolecall.limits import Limit, network, too_many
from rolecall.settings import ServiceSettings, declared_settings
from rolecall.web.routes import Kind
from rolecall_auth import create_app, limits, settings
from rolecall_auth.limits import LIMITS, SIGN_UP
from rolecall_auth.services import services
from rolecall_client import limits as client_limits
from rolecall_client.settings import Settings as ClientSettings
from rolecall_lab.documentation.pages import settings_table
from rolecall_lab.wsgi import with_wide_limits

DEVICE = Limit("new-device", "5/minute", "New devices from one address.", "Too many devices", "Wait {wait}.")


@pytest.fixture
def with_row(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class `Settings`, created with another row in the table."""
    monkeypatch.setattr(limits, "LIMITS", (*LIMITS, DEVICE))
    monkeypatch.setattr(sys.modules["rolecall_auth.services"], "LIMITS", (*LIMITS, DEVICE))
    return _again(settings, monkeypatch).Settings


def _again(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run a module again under another name."""
    spec = spec_from_file_location("with_a_row", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, again)
    spec.loader.exec_module(again)
    return again


@pytest.mark.parametrize(
    ("cls", "rows"), [(settings.Settings, LIMITS), (ClientSettings, client_limits.LIMITS)], ids=["auth", "client"]
)
def test_every_limit_is_a_setting(cls: type[ServiceSettings], rows: tuple[Limit, ...]) -> None:
    declared = {field.name: field for field in declared_settings(cls)}
    for row in rows:
        field = declared.pop(row.setting)
        assert (field.metadata["doc"], field.default) == (row.counts, parse(row.default))
    assert not [name for name in declared if name.endswith("_limit")]
    assert len({row.name for row in rows}) == len(rows)


def test_a_new_row_is_a_setting_with_documentation_and_a_wide_default_in_the_lab(with_row: Any) -> None:
    assert "| `NEW_DEVICE_LIMIT` | text | `5 per 1 minute` | New devices from one address. |" in settings_table(
        with_row
    )
    bytes_limit = dataclasses.replace(DEVICE, name="device-bytes", unit="bytes")
    assert with_wide_limits({"SIGN_UP_LIMIT": "1/hour"}, (DEVICE, bytes_limit, SIGN_UP)) == {
        "NEW_DEVICE_LIMIT": "10000/minute",
        "DEVICE_BYTES_LIMIT": "100000000/minute",
        "SIGN_UP_LIMIT": "1/hour",
    }
    names = [field.name for field in declared_settings(with_row)]
    assert names == [*(field.name for field in declared_settings(settings.Settings)), "new_device_limit"]


@pytest.mark.parametrize("kind", ["page", "api"])
def test_a_new_row_leads_to_a_429(with_row: Any, redis_url: str, kind: Kind) -> None:
    """RFC 6585 section 4."""
    environ = {
        "ISSUER": "http://auth.test",
        "DATABASE_URL": "sqlite://",
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret key of the tests, long enough",
        "DATA_KEY": Fernet.generate_key().decode(),
        "NEW_DEVICE_LIMIT": "2/hour",
    }
    app = create_app(with_row.from_environ(environ, lab=True))

    def device() -> str:
        services().limits.count(DEVICE, network("192.0.2.1"))
        return "counted"

    app.add_url_rule("/device", "device", device)
    app.extensions["rolecall_kinds"]["device"] = kind
    client = app.test_client()
    assert [client.get("/device").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get("/device")
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    described = too_many(kind, DEVICE)
    assert "NEW_DEVICE_LIMIT: New devices from one address." in described.description
    assert [*described.content] == [refused.mimetype]
    assert "Wait " in refused.text
    assert "{wait}" not in refused.text
    if kind == "page":
        assert "Too many devices" in refused.text
    else:
        assert refused.json is not None
        assert refused.json["error"] == "temporarily_unavailable"
    app.extensions["rolecall_auth"].store.client.close()

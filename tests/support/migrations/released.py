"""The databases of a release, and the services of this version on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from support.auth_server import basic
from support.databases import fresh_database
from support.migrations.frozen import Release, Running, dialect_of, load, releases
from support.migrations.story import apps

RELEASES: Final = releases()


class MigratedServices:
    """The services of this version on the databases of a release.

    `services["refresh_token"]` is a value from the story of the release.
    """

    def __init__(self, both: Running, secrets: dict[str, Any]) -> None:
        self.auth, self.api, self.apps = both.auth, both.api, apps(secrets)
        self._secrets = secrets

    def __getitem__(self, name: str) -> Any:
        return self._secrets[name]

    def is_active(self, token: str) -> bool:
        """Return whether a token is active according to introspection (RFC 7662 section 2.2)."""
        resource = basic(self["resource_id"], self["resource_secret"])
        response = self.auth.post("/introspect", resource, token=self[token])
        assert response.status_code == 200, response.text
        return bool(response.json and response.json["active"])

    def refresh(self, client_id: str, token: str) -> tuple[int, dict[str, Any]]:
        return self.apps[client_id].refresh(self.auth, self[token])

    def get(self, path: str, token: str, validator: str = "jwt") -> tuple[int, dict[str, Any]]:
        """Send a request to the Invoices API; return status and body."""
        response = self.api.test_client().get(
            path, headers={"Authorization": f"Bearer {token}"}, environ_overrides={"rolecall.validator": validator}
        )
        return response.status_code, dict(response.json or {})


def released_database(release: Release, service: str, folder: Path) -> str:
    """Return the URL of a new database with the dump of the release."""
    return fresh_database(
        f"{service}-{release.name}", folder, lambda url: load(release.dump(service, dialect_of(url)), url)
    )


def changed_database(release: Release, folder: Path, change: Callable[[str], str]) -> str:
    """Return the same for the authorization server, with a changed dump."""
    url = fresh_database("empty", folder, lambda url: load("SELECT 1;", url))
    text = release.dump("auth", dialect_of(url))
    assert change(text) != text, "nothing was changed"
    load(change(text), url)
    return url

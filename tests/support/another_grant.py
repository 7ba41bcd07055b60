"""A program that runs an authorization server with one more row in its table of grants.

It writes a JSON report about the permissions of existing and new clients to standard output.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from authlib.oauth2.rfc6749 import BaseGrant, TokenEndpointMixin, UnauthorizedClientError

from rolecall.vocabulary import CLIENT_AUTH_METHODS

GRANT_TYPE = "urn:example:another"


class AnotherGrant(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
    """A grant that issues a token to every client that is registered for it."""

    GRANT_TYPE = GRANT_TYPE
    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTH_METHODS

    def validate_token_request(self) -> None:
        client = self.authenticate_token_endpoint_client()
        if not client.check_grant_type(self.GRANT_TYPE):
            raise UnauthorizedClientError

    def create_token_response(self) -> Any:
        return 200, {"access_token": "another", "token_type": "Bearer"}, self.TOKEN_RESPONSE_HEADER


def _add_row() -> None:
    """Add the row before any other module of the package reads the table."""
    specification = importlib.util.find_spec("rolecall_auth")
    assert specification is not None
    package = ModuleType("rolecall_auth")
    package.__path__ = specification.submodule_search_locations or []
    sys.modules["rolecall_auth"] = package
    from rolecall_auth import grants

    row = grants.Grant(
        GRANT_TYPE, AnotherGrant, "RFC 6749 section 4.5", (), ("code",), ("scope",), confidential_only=True
    )
    grants.GRANTS = (*grants.GRANTS, row)  # type: ignore[misc]
    del sys.modules["rolecall_auth"]


def main(folder: Path, redis_url: str) -> dict[str, Any]:
    _add_row()
    from rolecall_auth.grants import GRANTS
    from rolecall_auth.models.client import Client
    from support.auth_server import SECRET, TALLY, basic, make_server, make_settings
    from support.registration import manage, register, registered

    server = make_server(make_settings(folder, redis_url))
    browser = server.app.test_client()

    def add_client(client_id: str, *options: str) -> list[str]:
        command = ["add-client", client_id, "--name", client_id, "--scope", "invoices:read", *options]
        result = server.app.test_cli_runner().invoke(args=[*command, "--secret-file", "-"], input=SECRET)
        assert result.exit_code == 0, result.output
        with server.services.database.read() as session:
            return session.get_one(Client, client_id).grant_types

    added = add_client("added", "--redirect-uri", "https://added.example/cb")
    named = add_client("named", "--grant", GRANT_TYPE)
    new = registered(server)
    every = [grant.grant_type for grant in GRANTS]
    public = registered(server, grant_types=every, token_endpoint_auth_method="none")
    replaced = manage(server, registered(server), "PUT").json
    alone = register(server, grant_types=[GRANT_TYPE], token_endpoint_auth_method="none")
    clients = {
        "existing": TALLY,
        "added": basic("added", SECRET),
        "named": basic("named", SECRET),
        "registered": basic(new["client_id"], new["client_secret"]),
    }
    answers = {name: server.post("/token", headers, grant_type=GRANT_TYPE) for name, headers in clients.items()}
    description = browser.get("/openapi.json").json or {}
    form = description["paths"]["/token"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    return {
        "metadata": (browser.get("/.well-known/oauth-authorization-server").json or {})["grant_types_supported"],
        "openapi": {each["title"]: [*each["properties"]] for each in form["schema"]["oneOf"]},
        "added": added,
        "named": named,
        "registered": new["grant_types"],
        "replaced": replaced["grant_types"],
        "public": public["grant_types"],
        "public alone": (alone.status_code, alone.json["error"]),
        "answers": {name: (answer.json or {}).get("error", "token") for name, answer in answers.items()},
        "tokens": [*server.tokens()],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))

"""The table of grants: every row leads to a valid token, and a new row only affects clients that register for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rolecall.storage import digest
from rolecall_auth.clients.metadata import MEMBERS
from rolecall_auth.grants import GRANTS, Grant
from rolecall_auth.openapi.description import CLIENT_PARAMETERS
from rolecall_auth.parameters import BY_ENDPOINT
from support.another_grant import GRANT_TYPE
from support.auth_server import Server, a_client, basic
from support.grants import OBTAIN, token

SECRET = "secret-of-a-client-without-grants-0123456789"


def _test_id(grant: Grant) -> str:
    return grant.grant_type


def test_every_grant_has_a_request() -> None:
    assert OBTAIN.keys() == {grant.grant_type for grant in GRANTS}


@pytest.mark.parametrize("grant", GRANTS, ids=_test_id)
def test_every_grant_gives_a_token_that_works(server: Server, grant: Grant) -> None:
    """RFC 6749 section 5.1, RFC 7662 section 2.2."""
    body = token(server, grant.grant_type)
    assert body["token_type"] == "Bearer"
    assert server.is_active(body["access_token"])
    assert body["scope"] == server.introspect(body["access_token"])["scope"]


@pytest.mark.parametrize("grant", GRANTS, ids=_test_id)
def test_a_client_without_the_grant_gets_no_token(server: Server, grant: Grant) -> None:
    """RFC 6749 section 5.2."""
    server.add(a_client(client_id="without", secret_hash=digest(SECRET), grant_types=[]))
    form = {"grant_type": grant.grant_type, **dict.fromkeys(grant.required, "x")}
    answer = server.post("/token", basic("without", SECRET), **form)
    assert (answer.status_code, (answer.json or {})["error"]) == (400, "unauthorized_client")


def test_every_parameter_of_the_token_endpoint_belongs_to_a_grant_or_to_the_client() -> None:
    of_grants = {name for grant in GRANTS for name in (*grant.required, *grant.optional)}
    expected = {"grant_type", *CLIENT_PARAMETERS, *of_grants}
    assert {parameter.name for parameter in BY_ENDPOINT["token"]} == expected


def test_only_the_two_grants_of_the_code_flow_are_given_by_default() -> None:
    assert {grant.grant_type for grant in GRANTS if grant.default} == {"authorization_code", "refresh_token"}
    [member] = [member for member in MEMBERS if member.name == "grant_types"]
    assert member.default == ("authorization_code",)


def test_a_new_row_changes_nothing_for_clients_that_do_not_ask_for_it(tmp_path: Path, redis_url: str) -> None:
    """RFC 7591 section 3.2.1: in a separate process, whose table has one more row.

    The row is for confidential clients, as RFC 6749 section 4.4 requires for some grants.
    """
    done = subprocess.run(
        [sys.executable, "-m", "support.another_grant", tmp_path, redis_url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metadata"] == [*(grant.grant_type for grant in GRANTS), GRANT_TYPE]
    assert {*found["openapi"][GRANT_TYPE]} == {"grant_type", "code", "scope", *CLIENT_PARAMETERS}
    assert found["added"] == [grant.grant_type for grant in GRANTS if grant.default]
    assert found["registered"] == found["replaced"] == ["authorization_code"]
    assert found["named"] == [GRANT_TYPE]
    assert GRANT_TYPE not in found["public"]
    assert found["public alone"] == [400, "invalid_client_metadata"]
    refused = dict.fromkeys(("existing", "added", "registered"), "unauthorized_client")
    assert found["answers"] == {**refused, "named": "token"}
    assert "access_token" in found["tokens"]

"""Which scope a request gets, and for which resource (RFC 6749 section 3.3, RFC 8707 section 2)."""

from __future__ import annotations

import pytest

from rolecall.storage import digest
from rolecall_auth.models.resource import Resource
from support.auth_server import RESOURCE, SECRET, Server, a_client, basic, claims, query
from support.openid import CALLBACK as RP_CALLBACK
from support.openid import RP, relying_party

pytestmark = pytest.mark.database

NOTES = "http://notes.test"
BOTH = basic("both", SECRET)


@pytest.fixture
def server(server: Server) -> Server:
    """The server with a second API, and with clients that are registered for scopes of both."""
    scopes = {"notes:read": "read your notes", "notes:write": "write them"}
    server.add(
        Resource(identifier=NOTES, resource_id="notes", name="Notes", secret_hash=digest("x" * 30), scopes=scopes),
        a_client(client_id="both", scope="openid offline_access profile invoices:read notes:read"),
        a_client(client_id="mcp", scope="notes:read offline_access"),
        relying_party(scope="openid email offline_access invoices:read notes:read"),
    )
    return server


def granted(server: Server, client_id: str = "both", **changes: str) -> dict[str, str]:
    """Return the token response to a request, or the authorization response with an error."""
    redirect = {"redirect_uri": RP_CALLBACK} if client_id == "rp" else {}
    browser = server.browser()
    browser.sign_in()
    answer = browser.authorize(client_id=client_id, **redirect, **changes)
    if "error" in answer:
        return answer
    headers = RP if client_id == "rp" else basic(client_id, SECRET)
    resource = {name: value for name, value in changes.items() if name == "resource" and value != "-"}
    response = server.redeem(answer["code"], headers, **redirect, **resource)
    assert response.status_code == 200, response.text
    return dict(response.json or {})


def test_values_of_other_resources_are_dropped_when_the_request_names_one(server: Server) -> None:
    """RFC 6749 section 3.3: the response names the scope that was granted."""
    for resource, scope in ((NOTES, "notes:read"), (RESOURCE, "invoices:read")):
        tokens = granted(server, scope="invoices:read notes:read", resource=resource)
        assert tokens["scope"] == scope
        assert (claims(tokens["access_token"])["aud"], claims(tokens["access_token"])["scope"]) == (resource, scope)


def test_the_consent_page_shows_what_remains(server: Server) -> None:
    browser = server.browser()
    browser.sign_in()
    location = browser.request(client_id="both", scope="invoices:read notes:read", resource=NOTES).location
    page = browser.client.get(location).text
    assert "read your notes" in page
    assert "read your invoices" not in page


def test_the_server_does_not_choose_one_of_several_resources(server: Server) -> None:
    """RFC 8707 section 2."""
    for scope in ("invoices:read notes:read", "-"):
        answer = granted(server, scope=scope)
        assert answer["error"] == "invalid_scope"
        assert "parameter resource" in answer["error_description"]


@pytest.mark.parametrize("profile", ["oauth2.1", "openid"])
@pytest.mark.parametrize("resource", [NOTES, "-"])
@pytest.mark.parametrize("value", ["notes:burn", "notes:write", "email"])
def test_a_value_that_does_not_exist_or_is_not_registered_is_refused(
    server: Server, value: str, resource: str, profile: str
) -> None:
    """RFC 6749 section 3.3: also when other values would remain."""
    server.add(a_client(client_id="strict", scope="notes:read", profile=profile))
    answer = granted(server, "strict", scope=f"notes:read {value}", resource=resource)
    assert answer["error"] == "invalid_scope"
    expected = f"Unknown scope `{value}`. This client may request: notes:read."
    assert answer["error_description"] == expected


def test_with_openid_other_values_are_ignored_for_the_profile_openid_alone(server: Server) -> None:
    """OpenID Connect Core section 3.1.2.1."""
    scope = "openid notes:burn notes:write notes:read"
    assert granted(server, "rp", scope=scope)["scope"] == "notes:read openid"
    answer = granted(server, scope=scope)
    assert answer["error"] == "invalid_scope"
    assert answer["error_description"].startswith("Unknown scope `notes:burn`, `notes:write`. This client may")


def test_openid_and_a_resource_drop_the_values_of_others(server: Server) -> None:
    tokens = granted(server, "rp", scope="openid invoices:read notes:read unheard-of", resource=NOTES)
    assert tokens["scope"] == "notes:read openid"
    assert "id_token" in tokens


def test_offline_access_without_openid_is_dropped(server: Server) -> None:
    """OpenID Connect Core section 11; clients of the Model Context Protocol request it by default."""
    for resource in ("-", NOTES):
        tokens = granted(server, "mcp", scope="notes:read offline_access", resource=resource)
        assert tokens["scope"] == "notes:read"
        refreshed = server.refresh(tokens["refresh_token"], basic("mcp", SECRET), scope="notes:read offline_access")
        assert refreshed.json["scope"] == "notes:read"
    assert granted(server, "tally", scope="invoices:read offline_access")["scope"] == "invoices:read"


@pytest.mark.parametrize(
    ("scope", "resource"),
    [("offline_access", "-"), ("offline_access", NOTES), ("invoices:read", NOTES), ("invoices:read", RESOURCE + "/x")],
)
def test_when_nothing_remains_the_scope_is_invalid(server: Server, scope: str, resource: str) -> None:
    answer = granted(server, scope=scope, resource=resource)
    assert answer["error"] == ("invalid_target" if resource.endswith("/x") else "invalid_scope")


def test_without_a_scope_the_request_gets_what_is_registered_of_the_resource(server: Server) -> None:
    """RFC 6749 section 3.3: a default."""
    assert granted(server, scope="-", resource=NOTES)["scope"] == "notes:read"
    assert granted(server, "mcp", scope="-")["scope"] == "notes:read"
    refused = granted(server, "tally", scope="-", resource=NOTES)
    assert refused["error"] == "invalid_scope"
    assert "may not request any scope here" in refused["error_description"]


@pytest.mark.parametrize(("sent", "is_known"), [("/", True), ("", True), ("//", False), ("/x", False), ("?", False)])
def test_the_slash_of_an_empty_path_makes_no_difference(server: Server, sent: str, is_known: bool) -> None:
    """RFC 3986 section 6.2.3; nothing else is normalized, and the token has the registered identifier."""
    server.add(a_client(client_id="service", grant_types=["client_credentials"], scope="notes:read", redirect_uris=[]))
    code = server.code(client_id="both", scope="notes:read", resource=NOTES)
    redeemed = server.redeem(code, BOTH, resource=NOTES + sent)
    token = redeemed.json.get("refresh_token") or server.redeem(code, BOTH).json["refresh_token"]
    own = server.post("/token", basic("service", SECRET), grant_type="client_credentials", resource=NOTES + sent)
    answers = [
        query(server.browser().request(client_id="both", scope="notes:read", resource=NOTES + sent).location),
        redeemed.json,
        server.refresh(token, BOTH, resource=NOTES + sent).json,
        own.json,
    ]
    assert [answer.get("error") for answer in answers] == [None if is_known else "invalid_target"] * 4
    for answer in answers[1:] if is_known else ():
        assert claims(answer["access_token"])["aud"] == NOTES


def test_a_registered_slash_may_be_left_out(server: Server) -> None:
    scopes = {"far:see": "see"}
    server.add(
        Resource(identifier="http://far.test/", resource_id="far", name="Far", secret_hash=digest("x"), scopes=scopes),
        a_client(client_id="far", scope="far:see"),
    )
    tokens = granted(server, "far", scope="far:see", resource="http://far.test")
    assert claims(tokens["access_token"])["aud"] == "http://far.test/"


def test_a_client_gets_its_own_scopes_of_the_named_resource(server: Server) -> None:
    """RFC 6749 section 4.4.2, RFC 8707 section 2."""
    server.add(
        a_client(
            client_id="service",
            grant_types=["client_credentials"],
            scope="notes:read notes:write invoices:read",
            redirect_uris=[],
        )
    )
    headers = basic("service", SECRET)
    for form in ({}, {"scope": "notes:write notes:read invoices:read"}):
        own = server.post("/token", headers, grant_type="client_credentials", resource=f"{NOTES}/", **form)
        assert own.json["scope"] == "notes:read notes:write"
        assert claims(own.json["access_token"])["aud"] == NOTES
    refused = server.post("/token", headers, grant_type="client_credentials", scope="notes:read notes:burn")
    assert refused.json["error_description"] == (
        "Unknown scope `notes:burn`. This client may request: invoices:read, notes:read, notes:write."
    )


def test_a_registered_scope_that_no_resource_has_any_more_does_not_exist(server: Server) -> None:
    """RFC 6749 section 3.3; without a scope, the request gets the scopes that still exist."""
    grants = ["authorization_code", "client_credentials"]
    server.add(a_client(client_id="old", scope="gone:read notes:read", grant_types=grants))
    own = {"grant_type": "client_credentials"}
    for answer in (
        granted(server, "old", scope="gone:read notes:read"),
        server.post("/token", basic("old", SECRET), **own, scope="gone:read notes:read").json,
    ):
        assert answer["error"] == "invalid_scope"
        assert answer["error_description"] == "Unknown scope `gone:read`. This client may request: notes:read."
    assert granted(server, "old", scope="-")["scope"] == "notes:read"
    assert server.post("/token", basic("old", SECRET), **own).json["scope"] == "notes:read"


def test_a_refresh_names_the_scopes_that_were_granted(server: Server) -> None:
    """RFC 6749 section 6: no more than the person granted, even if the client is registered for it."""
    tokens = server.tokens()
    refused = server.refresh(tokens["refresh_token"], scope="invoices:read invoices:pay").json
    expected = "Unknown scope `invoices:pay`. This client may request: invoices:read."
    assert (refused["error"], refused["error_description"]) == ("invalid_scope", expected)


def test_the_scopes_in_an_error_are_bounded_and_have_only_its_characters(server: Server) -> None:
    """RFC 6749 section 4.1.2.1: no quote and no backslash."""
    many = " ".join(f"scope-{number}" for number in range(110))
    server.add(a_client(client_id="many", scope=many[:1000]))
    for scope in (many[:1000], "x" * 1000, "invoices:read <script>"):
        description = granted(server, "many", scope=scope)["error_description"]
        assert description.startswith("Unknown scope `")
        assert len(description) < 800
        assert not {'"', "\\"} & {*description}


def test_offline_access_needs_a_consent_that_includes_it_and_no_prompt(server: Server) -> None:
    """OpenID Connect Core section 11: the person saw and accepted it; a remembered consent counts."""
    browser = server.browser()
    browser.sign_in()
    asked = {"client_id": "rp", "redirect_uri": RP_CALLBACK, "scope": "openid"}
    offline = {**asked, "scope": "openid offline_access"}
    browser.authorize(**asked)
    assert query(browser.request(**offline, prompt="none").location)["error"] == "consent_required"
    page = browser.client.get(browser.request(**offline).location).text
    assert "keep this access while you are not using the app" in page
    for prompt in ("-", "none", "-"):
        code = browser.authorize(**offline, prompt=prompt)["code"]
        tokens = server.redeem(code, RP, redirect_uri=RP_CALLBACK).json
        assert (tokens["scope"], "refresh_token" in tokens) == ("offline_access openid", True)


def test_offline_access_is_ignored_without_the_refresh_token_grant(server: Server) -> None:
    """OpenID Connect Core section 11."""
    server.add(relying_party(client_id="brief", grant_types=["authorization_code"]))
    code = server.code(client_id="brief", redirect_uri=RP_CALLBACK, scope="openid offline_access")
    tokens = server.redeem(
        code, basic("brief", "secret-of-the-relying-party-0123456789"), redirect_uri=RP_CALLBACK
    ).json
    assert tokens["scope"] == "openid"
    assert "refresh_token" not in tokens

"""Issuers with a path, and several issuers in one process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask.testing import FlaskClient
from werkzeug.test import Client, TestResponse

from rolecall import clock, periodic
from rolecall.clock import Clock
from rolecall.settings import SettingsError
from rolecall_auth import hosting, wsgi
from rolecall_auth.models.key import SigningKey
from rolecall_auth.settings import Settings
from support.auth_server import (
    INVOICES,
    PASSWORDS,
    TALLY,
    Server,
    authorize_url,
    claims,
    hidden_fields,
    make_server,
    make_settings,
    query,
)

HOST = "https://id.test"
PATHS = ("/s/one", "/s/two")
GOOD = {
    "ISSUER": f"{HOST}/s/abc",
    "DATABASE_URL": "sqlite:///x.db",
    "REDIS_URL": "redis://localhost",
    "SECRET_KEY": "x" * 32,
    "DATA_KEY": Fernet.generate_key().decode(),
}

Hosted = tuple[Client, Server, Server]


@pytest.fixture
def hosted(tmp_path: Path, redis_url: str) -> Hosted:
    """Return two issuers of one host in one application, with one Redis, one secret key, and one client ID."""
    servers = []
    for path in PATHS:
        (folder := tmp_path / path[3:]).mkdir()
        server = make_server(make_settings(folder, redis_url, issuer=HOST + path))
        server.app.extensions["rolecall_clock"] = Clock()
        servers.append(server)
    one, two = servers
    with two.services.database.transaction() as session:  # the databases of tests have the same keys
        session.execute(sa.delete(SigningKey))
    two.services.keys.ensure()
    host = hosting.combine({"one": one.app, "two": two.app}, one.services.settings)  # type: ignore[dict-item]
    return Client(host, TestResponse), one, two


def get(browser: Client, path: str) -> TestResponse:
    return browser.get(path, base_url=HOST)


def submit(browser: Client, path: str, **form: str) -> TestResponse:
    return browser.post(path, data={**hidden_fields(get(browser, path)), **form}, base_url=HOST)


def code(browser: Client, path: str) -> str:
    """Sign in, allow, and return the code."""
    asked = get(browser, path + authorize_url())
    if "/sign-in" in asked.location:
        asked = get(browser, submit(browser, asked.location, username="alice", password=PASSWORDS["alice"]).location)
    assert asked.location.startswith(f"{path}/consent")
    allowed = submit(browser, asked.location, decision="allow")
    return query(get(browser, allowed.location).location)["code"]


def test_metadata_are_at_both_well_known_paths(hosted: Hosted) -> None:
    """RFC 8414 section 3.1, OpenID Connect Discovery section 4, RFC 8414 section 3.3."""
    browser, *_ = hosted
    for path in PATHS:
        inserted = get(browser, f"/.well-known/oauth-authorization-server{path}").json
        appended = get(browser, f"{path}/.well-known/openid-configuration").json
        assert inserted == appended
        assert inserted["issuer"] == HOST + path
        urls = {name: value for name, value in inserted.items() if name.endswith("_endpoint") or name == "jwks_uri"}
        assert len(urls) > 5
        for url in urls.values():
            assert url.startswith(f"{HOST}{path}/")
            assert get(browser, url.removeprefix(HOST)).status_code != 404, url


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/.well-known/oauth-authorization-server", 404),
        ("/.well-known/oauth-authorization-server/s", 404),
        ("/.well-known/oauth-authorization-server/s/one/", 404),
        ("/.well-known/oauth-authorization-server/s/one/s/two", 404),
        ("/.well-known/oauth-authorization-server/s/../s/one", 404),
        ("/s/one/.well-known/oauth-authorization-server/s/two", 404),
        ("/s/one/../two/jwks", 404),
        ("/s/one/%2e%2e/two/jwks", 404),
        ("/s/one/./jwks", 404),
        ("/s//one/jwks", 404),
        ("//s/one/jwks", 404),
        ("/s/one//jwks", 404),
        ("/s/one/jwks/", 404),
        ("/s/oneself/jwks", 404),
        ("/s/ONE/jwks", 404),
        ("/S/one/jwks", 404),
        ("/jwks", 404),
        ("/", 404),
        ("/s", 404),
        ("/static/rolecall/rolecall.css", 404),
        ("/s/one/static/rolecall/rolecall.css", 200),
        ("/s/one/jwks", 200),
        ("/s/%6Fne/jwks", 200),
        ("/s/one", 200),
        ("/s/one/", 200),
        ("/healthz", 200),
        ("/s/one/healthz", 200),
    ],
)
def test_a_path_leads_to_its_issuer_or_nowhere(hosted: Hosted, path: str, status: int) -> None:
    """RFC 3986 section 6.2.2.2: an encoded letter is that letter; nothing else is normalized."""
    browser, *_ = hosted
    response = browser.get(path, base_url=HOST, buffered=True)
    assert response.status_code == status
    assert response.headers["Content-Security-Policy"]
    if "jwks" in path and status == 200:
        assert response.json == get(browser, "/s/one/jwks").json != get(browser, "/s/two/jwks").json


def test_the_path_of_an_issuer_is_checked() -> None:
    """RFC 8414 section 2: no query and no fragment; a path that no one normalizes."""
    for path in ("/s/abc", "/a", "/A.b_c~d-e/1"):
        assert Settings.from_environ({**GOOD, "ISSUER": HOST + path}).path == path
    assert Settings.from_environ({**GOOD, "ISSUER": HOST}).path == ""
    wrong = "/ /s/ /s//abc /s/../abc /s/./abc /.well-known/x /s/%61bc /s/a%2Fb /s/ä /s/a:b /_lab /healthz /readyz"
    for path in wrong.split():
        with pytest.raises(SettingsError, match="ISSUER"):
            Settings.from_environ({**GOOD, "ISSUER": HOST + path})
    with pytest.raises(SettingsError, match="BACKCHANNEL_URLS"):
        Settings.from_environ({**GOOD, "BACKCHANNEL_URLS": "http://auth:8000"})
    with pytest.raises(SettingsError, match="BACKCHANNEL_URLS"):
        Settings.from_environ({**GOOD, "ISSUER": HOST, "BACKCHANNEL_URLS": "http://auth:8000/s/abc"})


def test_a_back_channel_url_has_the_path_too(tmp_path: Path, redis_url: str) -> None:
    inside = "http://auth:8000/s/one"
    server = make_server(make_settings(tmp_path, redis_url, issuer=f"{HOST}/s/one", backchannel_urls=(inside,)))
    document = server.app.test_client().get("/.well-known/openid-configuration", headers={"Host": "auth:8000"}).json
    assert document["token_endpoint"] == f"{inside}/token"
    assert document["authorization_endpoint"] == f"{HOST}/s/one/authorize"


def test_signed_in_at_one_issuer_is_not_signed_in_at_the_other(hosted: Hosted) -> None:
    """RFC 6265bis section 4.1.3.2: a `__Host-` cookie is sent to every path of the host."""
    browser, one, two = hosted
    assert code(browser, "/s/one")
    assert get(browser, "/s/one/apps").status_code == 200
    assert get(browser, "/s/two/apps").location == "/s/two/sign-in"
    assert one.cookie_name != two.cookie_name
    assert one.cookie_name.startswith("__Host-")
    cookie = browser.get_cookie(one.cookie_name, "id.test")
    assert cookie is not None
    assert cookie.path == "/"
    known = browser.get_cookie(f"{one.cookie_name}_known", "id.test")
    assert known is not None
    # the value of one cookie is not accepted under the name of the other
    thief = Client(browser.application, TestResponse)
    thief.set_cookie(two.cookie_name, cookie.value, domain="id.test", secure=True)
    thief.set_cookie(f"{two.cookie_name}_known", known.value, domain="id.test", secure=True)
    assert get(thief, "/s/two/apps").location == "/s/two/sign-in"
    assert code(browser, "/s/two"), "both sign-ins exist in one browser"
    assert get(browser, "/s/one/apps").status_code == get(browser, "/s/two/apps").status_code == 200
    submit(browser, "/s/two/sign-out")
    assert get(browser, "/s/one/apps").status_code == 200
    assert get(browser, "/s/two/apps").location == "/s/two/sign-in"


def test_a_pending_request_belongs_to_its_issuer(hosted: Hosted) -> None:
    browser, *_ = hosted
    location = get(browser, "/s/one" + authorize_url()).location
    assert location.startswith("/s/one/sign-in?interaction=")
    page = get(browser, location.replace("/s/one", "/s/two"))
    assert page.status_code == 400
    assert 'href="/s/two/apps">Connected apps' in page.text
    assert "/s/one" not in page.text


@pytest.mark.parametrize("path", ["/consent", "/authorize", "/authorize?interaction=lost", "/nowhere"])
def test_every_link_of_an_error_page_stays_below_the_path(hosted: Hosted, path: str) -> None:
    page = hosted[0].get(f"/s/two{path}", base_url=HOST, headers={"Accept": "text/html"})
    assert page.status_code in {400, 404}
    links = re.findall(r'href="([^"#]*)"', page.text)
    assert len(links) > 3
    assert all(link.startswith("/s/two/") for link in links), links


def test_codes_and_tokens_belong_to_their_issuer(hosted: Hosted) -> None:
    """RFC 6749 section 5.2, RFC 7662 section 2.2, RFC 7009 section 2.2, OpenID Connect Core section 5.3.3."""
    browser, one, two = hosted
    own = code(browser, "/s/one")
    refused = two.redeem(own)
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_grant")
    tokens = one.redeem(own).json
    assert tokens is not None
    assert claims(tokens["access_token"])["iss"] == f"{HOST}/s/one"
    assert one.is_active(tokens["access_token"])
    assert not two.is_active(tokens["access_token"])
    assert two.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert two.post("/revoke", TALLY, token=token).status_code == 200
    assert one.is_active(tokens["access_token"]), "the other issuer cannot revoke it"
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert browser.get("/s/two/userinfo", headers=bearer, base_url=HOST).status_code == 401
    assert one.refresh(tokens["refresh_token"]).status_code == 200
    assert two.post("/introspect", INVOICES, token=tokens["access_token"]).json == {"active": False}


def test_nothing_in_redis_is_shared(hosted: Hosted) -> None:
    browser, one, two = hosted
    assert code(browser, "/s/one")
    assert code(browser, "/s/two")
    keys = {key.decode() for key in one.services.store.client.keys("auth:*")}
    prefixes = {server.services.store.prefix for server in (one, two)}
    assert prefixes == {"auth:/s/one", "auth:/s/two"}
    assert all(any(key.removeprefix("LIMITS:").startswith(f"{each}:") for each in prefixes) for key in keys), keys
    assert len(one.redis_keys("code:*")) == len(two.redis_keys("code:*")) == 1


def test_each_issuer_has_its_clock(hosted: Hosted) -> None:
    browser, one, two = hosted
    codes = {path: code(browser, path) for path in PATHS}
    with one.app.app_context():
        clock.set_offset(61)
    assert clock.offset() == 0
    assert one.redeem(codes["/s/one"]).json["error"] == "invalid_grant"
    tokens = two.redeem(codes["/s/two"]).json
    assert two.is_active(tokens["access_token"])


def test_health_is_that_of_all_issuers(hosted: Hosted) -> None:
    browser, _, two = hosted
    ready = {"status": "ready", "keys": True, "redis": True, "redis_memory": True, "sql": True}
    assert get(browser, "/readyz").json == ready
    with two.services.database.transaction() as session:
        session.execute(sa.text("DELETE FROM alembic_version"))
    assert get(browser, "/readyz").json == {**ready, "status": "not ready", "sql": False}
    assert get(browser, "/healthz").status_code == 200
    assert get(browser, "/s/one/readyz").status_code == 200


def test_an_application_that_is_mounted_already_knows_its_path(tmp_path: Path, redis_url: str) -> None:
    """PEP 3333: the path of a request is SCRIPT_NAME and PATH_INFO together."""
    server = make_server(make_settings(tmp_path, redis_url, issuer=f"{HOST}/s/one"))
    browser = FlaskClient(server.app, TestResponse)
    for base, path in ((HOST, "/s/one/sign-in"), (f"{HOST}/s", "/one/sign-in"), (f"{HOST}/s/one", "/sign-in")):
        page = browser.get(path, base_url=base)
        assert page.status_code == 200
        assert 'action="/s/one/sign-in"' in page.text
    outside = browser.get("/sign-in", base_url=HOST)
    assert outside.status_code == 404
    assert outside.text == "Not found. The service is at /s/one/.\n"


def write(folder: Path, text: str) -> dict[str, str]:
    (folder / "issuers.toml").write_text(text)
    environ = {**GOOD, "ISSUERS_FILE": str(folder / "issuers.toml")}
    return {name: value for name, value in environ.items() if name not in {"ISSUER", "DATABASE_URL"}}


def table(name: str, **changes: str) -> str:
    own = {"ISSUER": f"{HOST}/s/{name}", "DATABASE_URL": f"sqlite:///{name}.db", **changes}
    return f"[{name}]\n" + "".join(f'{setting} = "{value}"\n' for setting, value in own.items())


def test_a_table_replaces_settings_of_the_environment(tmp_path: Path) -> None:
    text = table("one") + table("two", SIGN_UP="open", CODE_LIFETIME="30")
    issuers = hosting.read_issuers(write(tmp_path, text))
    assert [each.path for each in issuers.values()] == ["/s/one", "/s/two"]
    assert [each.sign_up for each in issuers.values()] == ["closed", "open"]
    assert [each.code_lifetime for each in issuers.values()] == [60, 30]


@pytest.mark.parametrize(
    ("text", "says"),
    {
        "nothing": ("", "has no table"),
        "no TOML": ("[", "cannot be read"),
        "no table": ('ISSUER = "x"', "ISSUER must be a table"),
        "a name for no command": (table("one") + table("two").replace("[two]", '["two words"]'), "two words must be"),
        "no path": (table("one", ISSUER=HOST), r"\[one\] ISSUER must have a path"),
        "a wrong setting": (table("one", CODE_LIFETIME="0"), r"\[one\] CODE_LIFETIME"),
        "the same path": (table("one") + table("two", ISSUER=f"{HOST}/s/one"), r"\[two\] the path"),
        "a path below": (table("one") + table("two", ISSUER=f"{HOST}/s/one/x"), r"\[two\] the path"),
        "a path above": (table("one") + table("two", ISSUER=f"{HOST}/s"), r"\[one\] the path"),
        "the same database": (table("one") + table("two", DATABASE_URL="sqlite:///one.db"), r"\[two\] DATABASE_URL"),
    }.values(),
)
def test_what_issuers_would_share_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        hosting.read_issuers(write(tmp_path, text))


def test_commands_work_on_one_issuer(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(table(name, DATABASE_URL=f"sqlite:///{tmp_path}/{name}.db") for name in ("one", "two"))
    environ: Mapping[str, str] = {**write(tmp_path, text), "REDIS_URL": redis_url}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    app = wsgi.app()

    def run(*arguments: str) -> Any:
        return app.test_cli_runner().invoke(args=arguments)

    assert run("one", "db-upgrade").exit_code == 0
    assert run("one", "keys", "rotate").exit_code == 0
    checked = run("check")
    assert checked.exit_code == 1
    assert "[two] the database is at revision none" in checked.output + checked.stderr
    assert run("two", "db-upgrade").exit_code == 0
    assert run("two", "keys", "rotate").exit_code == 0
    assert run("check").exit_code == 0
    one, two = periodic.applications(app)
    assert one.test_client().get("/jwks").json != two.test_client().get("/jwks").json
    work = [each for hosted in (one, two) for each in hosted.extensions["rolecall_periodic"]]
    assert [each.name for each in work].count("sweep") == 2, "each issuer sweeps its own database"
    for each in (one, two):
        each.extensions["rolecall_auth"].database.engine.dispose()

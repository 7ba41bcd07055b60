"""A model of what the authorization server keeps, compared with the server after every step (hypothesis).

The time stands still but for the steps that turn it, so that what ends at a second is looked at in that very second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)
from werkzeug.test import TestResponse

from rolecall import clock
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.code import TOMBSTONE_LIFETIME
from rolecall_auth.models.consent import Consent
from rolecall_auth.models.token import RefreshToken
from support.auth_server import (
    CALLBACK,
    PASSWORDS,
    RESOURCE,
    SECRET,
    VERIFIER,
    Browser,
    a_client,
    authorize_url,
    basic,
    claims,
    csrf_token,
    query,
)
from support.fuzz.effort import examples
from support.fuzz.machine import Machine, Where, run

pytestmark = pytest.mark.database

STEPS = 40

T = TypeVar("T")


@dataclass(frozen=True)
class App:
    """A client as the model knows it."""

    client_id: str
    redirect_uri: str
    scope: frozenset[str]
    method: str = "client_secret_basic"
    grace: int = 10
    refreshes: bool = True
    asks_every_time: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return basic(self.client_id, SECRET) if self.method == "client_secret_basic" else {}

    @property
    def form(self) -> dict[str, str]:
        secret = {"client_secret": SECRET} if self.method == "client_secret_post" else {}
        return {} if self.method == "client_secret_basic" else {"client_id": self.client_id, **secret}


READ, PAY, PROFILE = "invoices:read", "invoices:pay", "profile"
ALL = frozenset({READ, PAY, PROFILE})
APPS = (
    App("tally", CALLBACK, ALL),
    App("strict", "http://strict.test/callback", frozenset({READ}), "client_secret_post", grace=0),
    App("native", "http://127.0.0.1:4711/callback", frozenset({READ, PROFILE}), "none", asks_every_time=True),
    App("page", "http://page.test/callback?from=here", ALL, "none", refreshes=False),
)


@dataclass(eq=False)
class Given:
    """An authorization: what came of one allowed request."""

    person: str
    app: App
    scope: frozenset[str]
    ended: bool = False


@dataclass(eq=False)
class Code:
    given: Given
    value: str
    named_uri: str | None
    expires_at: float
    used_at: float | None = None
    answers: int = 0


@dataclass(eq=False)
class Refresh:
    given: Given
    value: str
    expires_at: float
    family_expires_at: float
    used_at: float | None = None
    successor: Refresh | None = None


@dataclass(eq=False)
class Access:
    given: Given
    value: str
    scope: frozenset[str]
    expires_at: int
    revoked: bool = False
    seen_dead: bool = False


@dataclass(eq=False)
class Waiting:
    """A request that waits for its person; for a window of any browser (None) when a form of another site sent it."""

    window: int | None
    app: App
    scope: frozenset[str]
    named_uri: str | None
    state: str
    name: str
    expires_at: float
    decision: str | None = None
    decided_by: str | None = None
    decided_at: float = 0.0
    gone: bool = False


@dataclass
class Window:
    """A browser, and who is signed in there until when."""

    browser: Browser
    person: str | None = None
    until: float = 0.0

    @property
    def who(self) -> str | None:
        return self.person if clock.now() < self.until else None


class Model(Machine):
    """The authorization server of OAuth."""

    @initialize(apps=st.tuples(st.sampled_from(APPS), st.sampled_from(APPS)))
    def start(self, apps: tuple[App, App]) -> None:
        self.begin()
        self.server.add(*(_row(app) for app in APPS if app.client_id != "tally"))
        self.windows = [Window(self.server.browser()), Window(self.server.browser())]
        self.consents: dict[tuple[str, str], frozenset[str]] = {}
        self.taken_back: dict[tuple[str, str], float] = {}
        self.waiting: list[Waiting] = []
        self.codes: list[Code] = []
        self.refreshes: list[Refresh] = []
        self.accesses: list[Access] = []
        self.givens: list[Given] = []
        # most of what there is to go wrong begins with tokens
        for window, (person, app) in enumerate(zip(sorted(PASSWORDS), apps, strict=True)):
            self.sign_in(window, person, right=True)
            self.whole_flow(window, app, "", redeems=True)

    def teardown(self) -> None:
        if hasattr(self, "server"):
            for token in self.accesses:
                token.seen_dead = False
            self.tokens_are_as_the_model_says()
        super().teardown()

    # people

    @rule(
        window=st.integers(0, 1), person=st.sampled_from(sorted(PASSWORDS)), right=st.sampled_from([True, True, False])
    )
    def sign_in(self, window: int, person: str, right: bool) -> None:
        here = self.windows[window]
        page = here.browser.client.get("/sign-in")
        if here.who is not None:
            assert (page.status_code, page.location) == (303, "/apps")
            return
        password = PASSWORDS[person] if right else PASSWORDS[person] + "x"
        form = {"csrf_token": csrf_token(page), "username": person, "password": password}
        answer = here.browser.client.post("/sign-in", data=form)
        if not right:
            assert answer.status_code == 403
            return
        assert (answer.status_code, answer.location) == (303, "/apps")
        here.person, here.until = person, clock.now() + self.settings.session_lifetime

    @rule(window=st.integers(0, 1), really=st.booleans())
    def sign_out(self, window: int, really: bool) -> None:
        here = self.windows[window]
        if here.who is None or not really:
            return
        assert here.browser.submit("/sign-out").status_code == 303
        here.person = None

    @rule(window=st.integers(0, 1), app=st.sampled_from(APPS))
    def disconnect(self, window: int, app: App) -> None:
        """The consent is taken back: everything that came of it ends."""
        here = self.windows[window]
        if here.who is None:
            return
        page = here.browser.client.get("/sign-out")
        form = {"csrf_token": csrf_token(page), "client_id": app.client_id}
        answer = here.browser.client.post("/apps/disconnect", data=form)
        assert (answer.status_code, answer.location) == (303, "/apps")
        self.consents.pop((here.who, app.client_id), None)
        self.taken_back[(here.who, app.client_id)] = clock.now()
        for given in self.givens:
            if (given.person, given.app) == (here.who, app):
                given.ended = True

    # requests

    @rule(
        window=st.integers(0, 1),
        app=st.sampled_from(APPS),
        scope=st.sampled_from(["", READ, READ, PROFILE, f"{PROFILE} {READ}", f"{READ} {PAY}", "unknown"]),
        names_uri=st.booleans(),
        by_post=st.booleans(),
    )
    def authorize(self, window: int, app: App, scope: str, names_uri: bool, by_post: bool) -> None:
        here, state = self.windows[window], f"state-{len(self.waiting)}-{len(self.codes)}"
        # the loopback port of this request is not the registered one, so it must be named
        named = app.redirect_uri if names_uri or app.asks_every_time else None
        url = authorize_url(
            client_id=app.client_id, redirect_uri=named or "-", scope=scope or "-", state=state, resource=RESOURCE
        )
        client = here.browser.client
        answer = client.post("/authorize", data=query(url)) if by_post else client.get(url)
        asked = frozenset(scope.split()) or app.scope
        if not asked <= app.scope:
            self._is_refused(answer, app, state, "invalid_scope")
            return
        request = Waiting(window, app, asked, named, state, "", clock.now() + self.settings.request_lifetime)
        if by_post:
            assert answer.status_code == 303
            assert answer.location.startswith("/authorize?interaction=")
            request.window = None
            self._waits(request, answer)
            return
        self._proceeds(request, answer)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9), window=st.sampled_from([None, None, 0, 1]))
    def resume(self, which: int, window: int | None) -> None:
        request = _pick(self.waiting, which)
        number = (request.window or 0) if window is None else window
        self._opens(request, number)
        answer = self.windows[number].browser.client.get(f"/authorize?interaction={request.name}")
        if number != request.window or not self._is_waiting(request):
            self._is_lost(answer)
            return
        self._proceeds(request, answer)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9), decision=st.sampled_from(["allow", "allow", "allow", "deny"]), goes_on=st.booleans())
    def decide(self, which: int, decision: str, goes_on: bool) -> None:
        request = _pick(self.waiting, which)
        self._opens(request, 0)
        here = self.windows[request.window or 0]
        url = f"/consent?interaction={request.name}"
        page = here.browser.client.get(url)
        if not self._is_waiting(request):
            assert page.status_code == 400
            return
        if here.who is None:
            assert page.status_code == 303
            assert page.location == f"/sign-in?interaction={request.name}"
            return
        answer = here.browser.client.post(url, data={"csrf_token": csrf_token(page), "decision": decision})
        assert (answer.status_code, answer.location) == (303, f"/authorize?interaction={request.name}")
        request.decision, request.decided_by, request.decided_at = decision, here.who, clock.now()
        request.expires_at = clock.now() + self.settings.request_lifetime
        if decision == "allow" and not request.app.asks_every_time:
            key = (here.who, request.app.client_id)
            self.consents[key] = self.consents.get(key, frozenset()) | request.scope
        if goes_on:
            self._proceeds(request, here.browser.client.get(answer.location))

    @rule(
        window=st.integers(0, 1),
        app=st.sampled_from(APPS),
        scope=st.sampled_from(["", READ]),
        redeems=st.booleans(),
    )
    def whole_flow(self, window: int, app: App, scope: str, redeems: bool) -> None:
        """As it goes when nothing is in the way."""
        if self.windows[window].who is None:
            self.sign_in(window, sorted(PASSWORDS)[window], right=True)
        before = len(self.codes), len(self.waiting)
        self.authorize(window, app, scope, names_uri=True, by_post=False)
        if len(self.waiting) > before[1]:
            self.decide(0, "allow", goes_on=True)
        if redeems and len(self.codes) > before[0]:
            self.redeem(0, "right")

    def _opens(self, request: Waiting, window: int) -> None:
        """What waits for any browser is from now on that one's which opens it first."""
        if request.window is None and self._is_waiting(request):
            request.window = window
            request.expires_at = clock.now() + self.settings.request_lifetime

    def _is_lost(self, answer: TestResponse) -> None:
        assert answer.status_code == 400
        assert "no longer valid" in answer.text

    def _is_waiting(self, request: Waiting) -> bool:
        return not request.gone and clock.now() < request.expires_at

    def _waits(self, request: Waiting, answer: TestResponse) -> None:
        request.name = query(answer.location)["interaction"]
        if request not in self.waiting:
            self.waiting.append(request)

    def _proceeds(self, request: Waiting, answer: TestResponse) -> None:
        """Sign-in, consent or the answer: whatever the request lacks."""
        assert request.window is not None
        who, app = self.windows[request.window].who, request.app
        if self._is_taken_back(request, who):
            request.gone = True
            self._is_lost(answer)
            return
        assert answer.status_code == 303, answer.text
        if who is None:
            assert answer.location.startswith("/sign-in?interaction=")
            self._waits(request, answer)
            return
        decision = request.decision if request.decided_by == who else None
        remembered = not app.asks_every_time and request.scope <= self.consents.get((who, app.client_id), frozenset())
        if decision == "deny" or (decision == "allow" and not remembered and not app.asks_every_time):
            # denied, or taken back after it was allowed
            request.gone = True
            self._is_refused(answer, app, request.state, "access_denied")
        elif decision == "allow" or remembered:
            request.gone = True
            self._gets_code(request, who, answer)
        else:
            assert answer.location.startswith("/consent?interaction=")
            self._waits(request, answer)

    def _is_taken_back(self, request: Waiting, who: str | None) -> bool:
        """Whether an app that is asked about every time was disconnected after this decision."""
        if who is None or request.decided_by != who or not request.app.asks_every_time:
            return False
        at = self.taken_back.get((who, request.app.client_id), float("-inf"))
        return at >= request.decided_at and clock.now() < at + self.settings.request_lifetime

    def _gets_code(self, request: Waiting, who: str, answer: TestResponse) -> None:
        got = self._back_at_client(answer, request.app, request.state)
        given = Given(who, request.app, request.scope)
        self.givens.append(given)
        assert got["code"] not in {code.value for code in self.codes}
        self.codes.append(Code(given, got["code"], request.named_uri, clock.now() + self.settings.code_lifetime))

    def _is_refused(self, answer: TestResponse, app: App, state: str, error: str) -> None:
        got = self._back_at_client(answer, app, state)
        assert got["error"] == error
        assert "code" not in got

    def _back_at_client(self, answer: TestResponse, app: App, state: str) -> dict[str, str]:
        """RFC 9207 section 2: every answer has `iss`; RFC 6749 section 4.1.2: and the state."""
        assert answer.status_code == 303
        assert answer.location.startswith(app.redirect_uri + ("&" if "?" in app.redirect_uri else "?"))
        got = query(answer.location)
        assert (got["iss"], got["state"]) == (self.settings.issuer, state)
        return got

    # the token endpoint

    @precondition(lambda self: self.codes)
    @rule(
        which=st.integers(0, 9),
        how=st.sampled_from(
            ["right", "right", "right", "wrong verifier", "no verifier", "wrong uri", "wrong resource", "wrong client"]
        ),
    )
    def redeem(self, which: int, how: str) -> None:
        code = _pick(self.codes, which)
        app, given, now = code.given.app, code.given, clock.now()
        form = {"grant_type": "authorization_code", "code": code.value, "code_verifier": VERIFIER}
        if code.named_uri:
            form["redirect_uri"] = code.named_uri
        if how == "wrong client":
            app = _other(app)
        form |= app.form
        form |= {
            "wrong verifier": {"code_verifier": "w" * 43},
            "no verifier": {"code_verifier": ""},
            "wrong uri": {"redirect_uri": "http://elsewhere.test/callback"},
            "wrong resource": {"resource": "http://elsewhere.test"},
        }.get(how, {})
        answer = self.server.post("/token", app.headers, **form)
        ends = code.expires_at if code.used_at is None else code.used_at + TOMBSTONE_LIFETIME
        if now >= ends or how in {"wrong client", "wrong verifier", "wrong uri"}:
            # only who proves to be the right client, with the right request, can end anything
            _is_error(answer, "invalid_grant")
            return
        if how == "no verifier":
            _is_error(answer, "invalid_request")
            return
        if how == "wrong resource":
            _is_error(answer, "invalid_target")
            return
        if code.used_at is not None:
            _is_error(answer, "invalid_grant")
            given.ended = True
            return
        code.used_at = now
        if given.ended:
            _is_error(answer, "invalid_grant")
            return
        code.answers += 1
        body = self._gives_tokens(answer, given, given.scope)
        assert ("refresh_token" in body) == app.refreshes
        if app.refreshes:
            family = now + self.settings.refresh_lifetime
            idle = now + self.settings.refresh_idle_lifetime
            self.refreshes.append(Refresh(given, body["refresh_token"], min(idle, family), family))

    @precondition(lambda self: self.refreshes)
    @rule(
        which=st.integers(0, 9),
        scope=st.sampled_from(["", "", READ, PROFILE, PAY]),
        foreign=st.sampled_from([False, False, False, True]),
    )
    def refresh(self, which: int, scope: str, foreign: bool) -> None:
        token = _pick(self.refreshes, which)
        given, now = token.given, clock.now()
        app = _other(given.app) if foreign else given.app
        form = {"grant_type": "refresh_token", "refresh_token": token.value, **app.form}
        answer = self.server.post("/token", app.headers, **form, scope=scope)
        if not app.refreshes:
            assert foreign
            _is_error(answer, "unauthorized_client")
            return
        if foreign or given.ended or now >= token.expires_at:
            _is_error(answer, "invalid_grant")
            return
        asked = frozenset(scope.split()) or given.scope
        if not asked <= given.scope:
            _is_error(answer, "invalid_scope")
            return
        if token.used_at is None:
            idle = now + self.settings.refresh_idle_lifetime
            token.used_at = now
            token.successor = Refresh(given, "", min(idle, token.family_expires_at), token.family_expires_at)
            body = self._gives_tokens(answer, given, asked)
            assert body["refresh_token"] not in {each.value for each in self.refreshes}
            token.successor.value = body["refresh_token"]
            self.refreshes.append(token.successor)
            return
        assert token.successor is not None
        if now - token.used_at < app.grace and token.successor.used_at is None:
            body = self._gives_tokens(answer, given, asked)
            assert body["refresh_token"] == token.successor.value
            return
        _is_error(answer, "invalid_grant")
        given.ended = True

    def _gives_tokens(self, answer: TestResponse, given: Given, scope: frozenset[str]) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        body: dict[str, Any] = answer.json
        assert body["scope"] == " ".join(sorted(scope))
        expires_at = int(clock.now()) + self.settings.access_token_lifetime
        token = claims(body["access_token"])
        assert (token["exp"], token["sub"]) == (expires_at, self.server.ids[given.person])
        self.accesses.append(Access(given, body["access_token"], scope, expires_at))
        return body

    # revocation

    @precondition(lambda self: self.refreshes)
    @rule(which=st.integers(0, 9), foreign=st.sampled_from([False, False, True]))
    def revoke_refresh(self, which: int, foreign: bool) -> None:
        """RFC 7009 section 2.1: with a refresh token, all that came with it."""
        token = _pick(self.refreshes, which)
        app = _other(token.given.app) if foreign else token.given.app
        answer = self.server.post("/revoke", app.headers, token=token.value, **app.form)
        if foreign:
            _is_error(answer, "invalid_grant")
            return
        assert answer.status_code == 200
        token.given.ended = True

    @precondition(lambda self: self.accesses)
    @rule(which=st.integers(0, 9), foreign=st.sampled_from([False, False, True]))
    def revoke_access(self, which: int, foreign: bool) -> None:
        token = _pick(self.accesses, which)
        app = _other(token.given.app) if foreign else token.given.app
        answer = self.server.post("/revoke", app.headers, token=token.value, **app.form)
        if foreign and clock.now() < token.expires_at:
            _is_error(answer, "invalid_grant")
            return
        assert answer.status_code == 200, "RFC 7009 section 2.2: what is no token is no error"
        token.revoked = token.revoked or clock.now() < token.expires_at

    # what happens by itself

    @rule(seconds=st.sampled_from([1, 1, 9, 10, 50, 60, 240, 300, 900, 43200, 86400, 13 * 86400, 30 * 86400]))
    def time_passes(self, seconds: int) -> None:
        clock.set_offset(clock.offset() + seconds)

    @rule(really=st.booleans())
    def redis_is_emptied(self, really: bool) -> None:
        """Sign-ins, requests and codes are lost; no revocation is."""
        if not really:
            return
        self.server.services.store.client.flushall()
        self.codes.clear()
        self.waiting.clear()
        self.taken_back.clear()
        for window in self.windows:
            window.person = None

    # comparisons

    @invariant()
    def tokens_are_as_the_model_says(self) -> None:
        """Those that live, and those that have just died; the dead are looked at again in the end."""
        for token in self.accesses:
            active = not token.given.ended and not token.revoked and clock.now() < token.expires_at
            if not active and token.seen_dead:
                continue
            token.seen_dead = not active
            body = self.server.introspect(token.value)
            assert body["active"] is active, (token, clock.offset())
            if not active:
                assert body == {"active": False}, "RFC 7662 section 2.2: nothing else is said"
                continue
            assert body["scope"] == " ".join(sorted(token.scope))
            assert body["sub"] == self.server.ids[token.given.person]
            assert body["client_id"] == token.given.app.client_id
            assert body["exp"] == token.expires_at
            assert body["aud"] == RESOURCE

    @invariant()
    def no_refresh_token_is_an_access_token(self) -> None:
        for token in self.refreshes[-2:]:
            assert self.server.introspect(token.value) == {"active": False}

    @invariant()
    def a_code_gives_tokens_once(self) -> None:
        assert all(code.answers <= 1 for code in self.codes)

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        people = {user_id: name for name, user_id in self.server.ids.items()}
        with self.server.services.database.read() as session:
            consents = {
                (people[row.user_id], row.client_id): frozenset(row.scope.split())
                for row in session.scalars(sa.select(Consent))
            }
            alive = list(session.scalars(sa.select(Authorization).where(Authorization.ended_at.is_(None))))
            unused = session.scalar(
                sa.select(sa.func.count()).select_from(RefreshToken).where(RefreshToken.used_at.is_(None))
            )
        assert consents == self.consents
        assert sorted((people[row.user_id], row.client_id, row.scope) for row in alive) == sorted(
            (given.person, given.app.client_id, " ".join(sorted(given.scope)))
            for given in self.givens
            if not given.ended
        )
        assert unused == sum(token.used_at is None for token in self.refreshes)


def _row(app: App) -> Any:
    return a_client(
        client_id=app.client_id,
        client_name=app.client_id,
        application_type="native" if app.asks_every_time else "web",
        token_endpoint_auth_method=app.method,
        secret_hash=None if app.method == "none" else a_client().secret_hash,
        redirect_uris=[app.redirect_uri.replace(":4711", "")],
        grant_types=["authorization_code", *(["refresh_token"] if app.refreshes else [])],
        scope=" ".join(sorted(app.scope)),
        refresh_grace=app.grace,
    )


def _pick(things: list[T], which: int) -> T:
    return things[-1 - which % len(things)]


def _other(app: App) -> App:
    return APPS[(APPS.index(app) + 1) % len(APPS)]


def _is_error(answer: TestResponse, error: str) -> None:
    """RFC 6749 section 5.2."""
    assert answer.status_code == 400, answer.text
    assert answer.json["error"] == error, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "access_token" not in answer.json


def test_the_server_keeps_what_the_model_keeps(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6749 sections 4.1.2, 6 and 10.5, RFC 7009, RFC 7662, RFC 9700 section 4.14."""
    times = examples(6, 5 * STEPS)
    run(Model, Where(tmp_path, redis_url), monkeypatch, times=times, steps=STEPS)

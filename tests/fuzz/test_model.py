"""A model of the authorization server's state, compared with the server after every step (Hypothesis).

Time only moves in the steps that move it, so lifetimes are checked to the second.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from rolecall import clock
from support.auth_server import PASSWORDS
from support.fuzz.effort import examples
from support.fuzz.machine import Where, run
from support.fuzz.oauth_model.authorization import AuthorizationEndpoint
from support.fuzz.oauth_model.comparisons import Comparisons
from support.fuzz.oauth_model.people import People
from support.fuzz.oauth_model.state import APPS, READ, App
from support.fuzz.oauth_model.tokens import RevocationEndpoint, TokenEndpoint

pytestmark = pytest.mark.database

STEPS = 40


class Model(People, AuthorizationEndpoint, TokenEndpoint, RevocationEndpoint, Comparisons):
    """The model of the OAuth authorization server: its parts, whole flows, the clock, and the loss of Redis."""

    @initialize(apps=st.tuples(st.sampled_from(APPS), st.sampled_from(APPS)))
    def start(self, apps: tuple[App, App]) -> None:
        self.begin()
        # most faults need tokens
        for window, (person, app) in enumerate(zip(sorted(PASSWORDS), apps, strict=True)):
            self.sign_in(window, person, right=True)
            self.whole_flow(window, app, "", redeems=True)

    def teardown(self) -> None:
        if hasattr(self, "server"):
            for token in self.access_tokens:
                token.seen_inactive = False
            self.tokens_are_as_the_model_says()
        super().teardown()

    @rule(
        window=st.integers(0, 1),
        app=st.sampled_from(APPS),
        scope=st.sampled_from(["", READ]),
        redeems=st.booleans(),
    )
    def whole_flow(self, window: int, app: App, scope: str, redeems: bool) -> None:
        """Run the flow without an error."""
        if self.windows[window].current_user is None:
            self.sign_in(window, sorted(PASSWORDS)[window], right=True)
        codes, pending = len(self.codes), len(self.pending)
        self.authorize(window, app, scope, names_uri=True, by_post=False)
        if len(self.pending) > pending:
            self.decide(0, "allow", goes_on=True)
        if redeems and len(self.codes) > codes:
            self.redeem(0, "right")

    @rule(seconds=st.sampled_from([1, 1, 9, 10, 50, 60, 240, 300, 900, 43200, 86400, 13 * 86400, 30 * 86400]))
    def time_passes(self, seconds: int) -> None:
        clock.set_offset(clock.offset() + seconds)

    @rule(really=st.booleans())
    def redis_is_emptied(self, really: bool) -> None:
        """Empty Redis, which loses sessions, requests, and codes, but no revocation."""
        if not really:
            return
        self.server.services.store.client.flushall()
        self.codes.clear()
        self.pending.clear()
        self.disconnected_at.clear()
        for window in self.windows:
            window.person = None


def test_the_server_keeps_what_the_model_keeps(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6749 sections 4.1.2, 6 and 10.5, RFC 7009, RFC 7662, RFC 9700 section 4.14."""
    times = examples(6, 5 * STEPS)
    run(Model, Where(tmp_path, redis_url), monkeypatch, times=times, steps=STEPS)

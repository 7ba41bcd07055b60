"""Invariants of the authorization server's model: after every step, the server and the model agree."""

from __future__ import annotations

import sqlalchemy as sa
from hypothesis.stateful import invariant

from rolecall import clock
from rolecall_auth.models import token as tables
from rolecall_auth.models.authorization import Authorization
from rolecall_auth.models.consent import Consent
from support.auth_server import RESOURCE
from support.fuzz.oauth_model.state import State


class Comparisons(State):
    """Introspection and SQL rows, compared with the model."""

    @invariant()
    def tokens_are_as_the_model_says(self) -> None:
        """Introspect active tokens and newly inactive tokens; `teardown` introspects all others."""
        for token in self.access_tokens:
            active = not token.grant.ended and not token.revoked and clock.now() < token.expires_at
            if not active and token.seen_inactive:
                continue
            token.seen_inactive = not active
            body = self.server.introspect(token.value)
            assert body["active"] is active, (token, clock.offset())
            if not active:
                assert body == {"active": False}, "RFC 7662 section 2.2: the response has no other member"
                continue
            assert body["scope"] == " ".join(sorted(token.scope))
            assert body["sub"] == self.server.ids[token.grant.person]
            assert body["client_id"] == token.grant.app.client_id
            assert body["exp"] == token.expires_at
            assert body["aud"] == RESOURCE

    @invariant()
    def no_refresh_token_is_an_access_token(self) -> None:
        for token in self.refresh_tokens[-2:]:
            assert self.server.introspect(token.value) == {"active": False}

    @invariant()
    def a_code_gives_tokens_once(self) -> None:
        assert all(code.token_responses <= 1 for code in self.codes)

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        people = {user_id: name for name, user_id in self.server.ids.items()}
        with self.server.services.database.read() as session:
            rows = list(session.scalars(sa.select(Consent)))
            active = list(session.scalars(sa.select(Authorization).where(Authorization.ended_at.is_(None))))
            unused = session.scalar(
                sa.select(sa.func.count()).select_from(tables.RefreshToken).where(tables.RefreshToken.used_at.is_(None))
            )
        items = {(people[row.user_id], row.client_id, row.scope) for row in rows}
        assert items == {(*owner, item) for owner, allowed in self.consents.items() for item in allowed}
        assert sorted((people[row.user_id], row.client_id, row.scope) for row in active) == sorted(
            (grant.person, grant.app.client_id, " ".join(sorted(grant.scope)))
            for grant in self.grants
            if not grant.ended
        )
        assert unused == sum(token.used_at is None for token in self.refresh_tokens)

"""Whose browser asks a page."""

from __future__ import annotations

from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import is_active
from rolecall_auth.state import state


def who() -> SignIn | None:
    """The person who is signed in; the session of an account that was closed or disabled ends here."""
    found = state().sessions.current()
    if found is None:
        return None
    with state().database.read() as session:
        if is_active(session, found.user_id):
            return found
    state().sessions.end()
    return None

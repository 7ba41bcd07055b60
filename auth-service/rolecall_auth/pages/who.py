"""Whose browser asks a page."""

from __future__ import annotations

from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import is_active
from rolecall_auth.services import services


def who() -> SignIn | None:
    """The person who is signed in; the session of an account that was closed or disabled ends here."""
    found = services().sessions.current()
    if found is None:
        return None
    with services().database.read() as session:
        if is_active(session, found.user_id):
            return found
    services().sessions.end()
    return None

"""The user who is signed in to the current browser."""

from __future__ import annotations

from rolecall_auth.models.session import SignIn
from rolecall_auth.models.user import is_active
from rolecall_auth.services import services


def current_user() -> SignIn | None:
    """Return the current sign-in, or None. If its account was deleted or disabled, the session ends."""
    sign_in = services().sessions.current()
    if sign_in is None:
        return None
    with services().database.connect() as connection:
        if is_active(connection, sign_in.user_id):
            return sign_in
    services().sessions.end()
    return None

"""The contract tests look at the authorization server of its own tests."""

from auth.conftest import server

__all__ = ["server"]

"""Alterations of the ID token from a refresh (OpenID Connect Core section 12.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rolecall import clock
from rolecall_lab.mistakes.alterations import TOKEN_RULE, Alteration, Change, remove_members
from rolecall_lab.mistakes.drafts import IdToken, encode
from rolecall_lab.mistakes.keys import UNPUBLISHED

_SECTION: Final = "OpenID Connect Core section 12.2"
_OTHER_SIGN_IN: Final = "client.refreshed_id_token"


def _claims(name: str, title: str, refusal: str = "", clause: str = _SECTION, **claims: Any) -> Alteration:
    """Return an alteration that sets claims; None removes one, and a function gets the draft."""

    def change(token: IdToken) -> None:
        for claim, value in claims.items():
            token.claims[claim] = value(token) if callable(value) else value
            if token.claims[claim] is None:
                del token.claims[claim]

    return _refreshed(name, title, change, refusal, clause)


def _refreshed(name: str, title: str, change: Change, refusal: str = "", clause: str = _SECTION) -> Alteration:
    return Alteration(f"refreshed_{name}", f"After a refresh: {title}", clause, {"refreshed_id_token": change}, refusal)


def _first(claim: str, seconds: int = 0) -> Any:
    return lambda token: token.first[claim] + seconds if seconds else token.first[claim]


def _accepted() -> Iterator[Alteration]:
    yield Alteration("refreshed_no_id_token", "After a refresh: no ID token", _SECTION,
                     {"refresh": remove_members("id_token")})  # fmt: skip
    yield _claims("same_nonce", "the same nonce", nonce=_first("nonce"))
    yield _claims("no_party", "no azp", azp=None)
    yield _claims("no_auth_time", "no auth_time", auth_time=None)
    yield _claims("no_hash", "no at_hash", at_hash=None)
    yield _claims("audience_list", "aud is a list with the client", aud=lambda token: [token.first["aud"]])
    yield Alteration("refreshed_new_auth_time", "After a refresh: auth_time, which the first ID token lacked", _SECTION,
                     {"id_token": lambda token: token.claims.pop("auth_time")})  # fmt: skip


def _other_sign_ins() -> Iterator[Alteration]:
    yield _claims("other_subject", "another user", _OTHER_SIGN_IN, sub="usr_bob")
    yield _claims("other_auth_time", "a later sign-in", _OTHER_SIGN_IN, auth_time=_first("auth_time", 1))
    yield _claims("earlier_auth_time", "an earlier sign-in", _OTHER_SIGN_IN, auth_time=_first("auth_time", -60))
    yield _claims("other_nonce", "another nonce", _OTHER_SIGN_IN, nonce="another")
    yield _claims("nonce_number", "nonce is a number", _OTHER_SIGN_IN, nonce=7)
    yield _claims("older", "issued before the first ID token", _OTHER_SIGN_IN, iat=_first("iat", -1))
    yield Alteration("refreshed_new_party", "After a refresh: azp, which the first ID token lacked", _SECTION,
                     {"id_token": lambda token: token.claims.pop("azp")}, _OTHER_SIGN_IN)  # fmt: skip


def _invalid() -> Iterator[Alteration]:
    rules = "OpenID Connect Core section 3.1.3.7"
    yield _claims("other_issuer", "another issuer", f"{TOKEN_RULE}iss", iss="http://evil.test")
    yield _claims("other_client", "another client", f"{TOKEN_RULE}aud", aud="another-client")
    yield _claims("two_audiences", "another client as well", f"{TOKEN_RULE}aud", aud=_with_other_client)
    yield _claims("other_party", "another authorized party", f"{TOKEN_RULE}azp", azp="another-client")
    yield _claims("other_hash", "the hash of another access token", f"{TOKEN_RULE}at_hash",
                  "OpenID Connect Core section 3.1.3.8", at_hash=encode(bytes(16)))  # fmt: skip
    yield _claims("expired", "expired a moment ago", f"{TOKEN_RULE}exp", rules, exp=lambda _: int(clock.now()) - 1)
    yield _refreshed("forged", "signed with another key", _sign_with_other_key, f"{TOKEN_RULE}signature", rules)
    yield _refreshed("unsigned", "not signed (alg none)", _leave_unsigned, f"{TOKEN_RULE}alg", "RFC 8725 section 3.2")
    yield Alteration("refreshed_number", "After a refresh: the ID token is a number", rules,
                     {"refresh": lambda draft: draft.body.update(id_token=5)}, f"{TOKEN_RULE}form")  # fmt: skip


def _with_other_client(token: IdToken) -> list[str]:
    return [token.first["aud"], "another-client"]


def _sign_with_other_key(token: IdToken) -> None:
    token.key = UNPUBLISHED


def _leave_unsigned(token: IdToken) -> None:
    token.header["alg"], token.key = "none", None


ALTERATIONS: Final = (*_accepted(), *_other_sign_ins(), *_invalid())

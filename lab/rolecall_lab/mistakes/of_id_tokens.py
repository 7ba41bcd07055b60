"""Alterations of ID tokens (OpenID Connect Core sections 2 and 3.1.3.7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from rolecall import clock
from rolecall_lab.mistakes.alterations import DEEP, TOKEN_RULE, Alteration, Change, set_members
from rolecall_lab.mistakes.drafts import Draft, IdToken, encode, part, without
from rolecall_lab.mistakes.keys import ELLIPTIC, MAIN, SECOND, SHORT, UNPUBLISHED, ProviderKey

_CORE: Final = "OpenID Connect Core section"
_RULES: Final = f"{_CORE} 3.1.3.7"


def _token(name: str, title: str, clause: str, change: Change, rule: str = "") -> Alteration:
    return Alteration(f"id_token_{name}", title, clause, {"id_token": change}, rule and f"{TOKEN_RULE}{rule}")


def _claim(name: str, title: str, claim: str, value: Any, rule: str = "", clause: str = _RULES) -> Alteration:
    return _token(name, title, clause, lambda token: token.claims.__setitem__(claim, value), rule)


def _time(name: str, title: str, claim: str, seconds: int, rule: str = "", clause: str = _RULES) -> Alteration:
    def change(token: IdToken) -> None:
        token.claims[claim] = int(clock.now()) + seconds

    return _token(name, title, clause, change, rule)


def _header(name: str, title: str, clause: str, rule: str = "", **members: Any) -> Alteration:
    def change(token: IdToken) -> None:
        token.header |= members
        for member, value in members.items():
            if value is None:
                del token.header[member]

    return _token(name, title, clause, change, rule)


def _text(name: str, title: str, text: Any, rule: str = "form", clause: str = "RFC 7519 section 7.2") -> Alteration:
    def change(token: IdToken) -> None:
        token.text = text(token) if callable(text) else text

    return _token(name, title, clause, change, rule)


def _signed_by(name: str, title: str, clause: str, key: ProviderKey | None, rule: str, **header: Any) -> Alteration:
    def change(token: IdToken) -> None:
        token.key = key
        token.header |= header

    return _token(name, title, clause, change, rule)


def _types() -> Iterator[Alteration]:
    """Each claim with each wrong type (section 2)."""
    section = f"{_CORE} 2"
    for claim in ("iss", "sub", "aud", "nonce", "exp", "iat"):
        yield _token(f"no_{claim}", f"No {claim}", section, _remove(claim), "claims")
        yield _claim(f"null_{claim}", f"{claim} is null", claim, None, "claims", section)
    for claim in ("iss", "sub", "aud", "nonce", "azp", "at_hash"):
        yield _claim(f"{claim}_number", f"{claim} is a number", claim, 7, "claims", section)
        yield _claim(f"{claim}_object", f"{claim} is an object", claim, {"a": 1}, "claims", section)
    for claim in ("exp", "iat", "nbf", "auth_time"):
        yield _claim(f"{claim}_text", f"{claim} is a string", claim, "9999999999", "claims", section)
        yield _claim(f"{claim}_true", f"{claim} is true", claim, True, "claims", section)
    yield _claim("exp_infinite", "exp is infinite", "exp", math.inf, "claims", section)
    yield _claim("iat_nan", "iat is not a number", "iat", math.nan, "claims", section)
    yield _claim("exp_huge", "exp is beyond every calendar", "exp", 10**400, "claims", section)
    yield _claim("sub_empty", "sub is empty", "sub", "", "claims", section)
    yield _claim("sub_long", "sub has more than 255 characters", "sub", "s" * 300, "claims", section)
    yield _claim("sub_surrogate", "sub has a lone surrogate", "sub", "\ud800", "claims", "RFC 8259 section 8.2")
    yield _claim("aud_empty", "aud is an empty list", "aud", [], "claims", section)
    yield _claim("aud_mixed", "aud contains a number", "aud", ["tally", 5], "claims", section)
    for name, title, claims in (
        ("list", "The claims are a list", [1]),
        ("text", "The claims are a string", "claims"),
        ("not_json", "The claims are not JSON", b"claims"),
        ("not_utf8", "The claims are not UTF-8", b'{"sub":"\xff"}'),
        ("deep", "The claims are nested without end", DEEP[:9000]),
    ):
        yield _token(f"claims_{name}", title, section, _replace_claims(claims), "claims")


def _values() -> Iterator[Alteration]:
    """Claims of the right type with another value."""
    yield _claim("other_issuer", "Issued by another issuer", "iss", "http://evil.test", "iss")
    yield _token("slash", "iss has one slash more", _RULES, _append("iss", "/"), "iss")
    yield _claim("other_client", "Issued for another client", "aud", "another-client", "aud")
    yield _token("two_audiences", "Issued for another client as well", _RULES, _audience("other"), "aud")
    yield _token("audience_list", "aud is a list with the client", f"{_CORE} 2", _audience())
    yield _token("audience_twice", "aud names the client twice", f"{_CORE} 2", _audience(None))
    yield _claim("other_party", "Another authorized party", "azp", "another-client", "azp")
    yield _token("no_party", "No azp", f"{_CORE} 2", _remove("azp"))
    yield _time("expired", "Expired a moment ago", "exp", -1, "exp")
    yield _time("long_expired", "Expired a day ago", "exp", -86400, "exp")
    yield _time("from_future", "Issued in the future", "iat", 3600, "iat")
    yield _time("old", "Issued an hour ago and still valid", "iat", -3600)
    yield _time("not_yet", "Not valid yet", "nbf", 3600, "nbf", "RFC 7519 section 4.1.5")
    yield _time("valid_since", "Valid since an hour ago", "nbf", -3600, clause="RFC 7519 section 4.1.5")
    yield _time("sign_in_in_future", "The sign-in is in the future", "auth_time", 3600, "auth_time")
    yield _token("no_auth_time", "No auth_time", f"{_CORE} 2", _remove("auth_time"))
    yield _claim("other_nonce", "The nonce of another request", "nonce", "another", "nonce")
    yield _token("longer_nonce", "A nonce with one more character", _RULES, _append("nonce", "x"), "nonce")
    yield _claim("nonce_not_ascii", "A nonce outside of ASCII", "nonce", "é", "nonce")
    at_hash = f"{_CORE} 3.1.3.8"
    yield _claim("other_hash", "The hash of another access token", "at_hash", encode(bytes(16)), "at_hash", at_hash)
    yield _claim("whole_hash", "The whole hash", "at_hash", encode(bytes(32)), "at_hash", at_hash)
    yield _token("no_hash", "No at_hash", f"{_CORE} 3.1.3.6", _remove("at_hash"))
    yield _claim("further", "Further claims", "further", {"deep": [1]}, clause=f"{_CORE} 2")
    yield _claim("acr_number", "acr is a number", "acr", 5, clause=f"{_CORE} 2")


def _headers() -> Iterator[Alteration]:
    """The header and the signature (RFC 8725)."""
    none, confusion = "RFC 8725 section 3.2", "RFC 8725 section 2.1"
    yield _signed_by("unsigned", "Not signed (alg none)", none, None, "alg", alg="none")
    yield _header("signed_none", "Signed, with alg none", none, "alg", alg="none")
    yield _token("public_key_as_secret", "HS256 with the public key as secret", confusion, _with_public_key, "alg")
    yield _signed_by("other_algorithm", "Another algorithm", _RULES, ELLIPTIC, "alg", alg="ES256", kid="elliptic")
    yield _signed_by("false_algorithm", "The header names another algorithm", _RULES, ELLIPTIC, "signature")
    yield _header("no_algorithm", "No alg", "RFC 7515 section 4.1.1", "alg", alg=None)
    yield _header("algorithm_number", "alg is a number", "RFC 7515 section 4.1.1", "alg", alg=256)
    yield _header("algorithm_list", "alg is a list", "RFC 7515 section 4.1.1", "alg", alg=["RS256"])
    kid = f"{_CORE} 10.1"
    yield _header("no_kid", "No kid, and one published key", kid, kid=None)
    yield _signed_by("unknown_key", "A key that is not published", kid, UNPUBLISHED, "kid", kid="unpublished")
    yield _header("kid_number", "kid is a number", "RFC 7515 section 4.1.4", "kid", kid=5)
    yield _header("kid_path", "kid is a path", "RFC 8725 section 3.10", "kid", kid="../../etc/passwd")
    yield _signed_by("forged", "Signed with another key under a published kid", _RULES, UNPUBLISHED, "signature")
    typ = "RFC 8725 section 3.11"
    yield _header("access_token", "An access token (typ at+jwt)", typ, "typ", typ="at+jwt")
    yield _header("logout_token", "A logout token", typ, "typ", typ="logout+jwt")
    yield _header("typ_number", "typ is a number", typ, "typ", typ=7)
    yield _header("typ_list", "typ is a list", typ, "typ", typ=["JWT"])
    yield _header("no_typ", "No typ", "RFC 7519 section 5.1", typ=None)
    own_key = "RFC 8725 section 3.10"
    yield _token("jwk", "The header contains the key", own_key, _with_own_key, "header")
    yield _header("jku", "The header has the address of a key set", own_key, "header", jku="http://evil.test/jwks")
    yield _header("x5u", "The header has the address of a certificate", own_key, "header", x5u="http://evil.test/x5u")
    yield _header("x5c", "The header contains a certificate", own_key, "header", x5c=["MII"])
    crit = "RFC 7515 section 4.1.11"
    yield _header("critical", "An unknown critical extension", crit, "header", crit=["x"], x=1)
    yield _header("critical_empty", "An empty list of critical extensions", crit, "header", crit=[])
    yield _header("unencoded", "An unencoded payload (b64 false)", crit, "header", crit=["b64"], b64=False)


def _forms() -> Iterator[Alteration]:
    """Values that are not signed JWTs, or were changed after they were signed."""
    yield Alteration(
        "id_token_missing", "No ID token", f"{_CORE} 3.1.3.3", {"token": lambda draft: draft.body.pop("id_token")},
        f"{TOKEN_RULE}form",
    )  # fmt: skip
    yield Alteration("id_token_number", "The ID token is a number", f"{_CORE} 3.1.3.3",
                     {"token": set_members(id_token=5)}, f"{TOKEN_RULE}form")  # fmt: skip
    yield _text("empty", "An empty ID token", "")
    yield _text("two_parts", "Two parts", lambda token: token.signed().rpartition(".")[0])
    yield _text("encrypted", "Five parts, as if encrypted", "a.b.c.d.e")
    yield _text("not_ascii", "Characters outside of ASCII", "é.é.é")
    yield _text("oversized", "More than 16,384 characters", "a" * 10_000 + "." + "b" * 10_000 + ".c")
    yield _text("header_list", "The header is a list", lambda token: f"{part([])}.{part(token.claims)}.AAAA")
    yield _text("header_deep", "A header without end", f"{encode(b'[' * 9000)}.e30.AAAA")
    yield _text("header_not_json", "The header is not JSON", "a.b.c")
    changed = "RFC 7515 section 5.2"
    yield _text("changed", "Claims that were changed", _with_other_claims, "signature", changed)
    yield _text("no_signature", "The signature is missing", _unsigned, "signature", changed)
    yield _text("cut", "The signature is cut", lambda token: token.signed()[:-20], "signature", changed)
    yield _token("nested", "A signed JWT in a signed JWT", "RFC 7519 section 5.2", _nested, "claims")


def _keys() -> Iterator[Alteration]:
    """The key set, and the key that signs. Keys are generated when they are published, not at import."""
    kid, kinds = f"{_CORE} 10.1", "RFC 7517 section 4.5"
    yield _published("no_alg", "A key without alg", "RFC 7517 section 4.4", lambda: [_main("alg")])
    yield _published("no_kid", "A key without kid", kinds, lambda: [_main("kid")])
    yield _published("no_use", "A key without use", "RFC 7517 section 4.2", lambda: [_main("use")])
    yield _published("bare", "A key with only its numbers", "RFC 7517 section 4", lambda: [_main("alg", "kid", "use")])
    encryption, signing = "RFC 7517 section 4.2", "RFC 7517 section 4.3"
    yield _published("encryption", "A key for encryption", encryption, lambda: [{**_main(), "use": "enc"}], "kid")
    yield _published("signing", "A key that may not verify", signing, lambda: [{**_main(), "key_ops": ["sign"]}], "kid")
    two = "no kid in the token"
    yield _published("two_without_kid", f"Two keys, {two}", kid, lambda: [_main(), SECOND.jwk()], "kid", kid=None)
    yield _published("two_kinds", f"Two types of key, {two}", kid, lambda: [_main(), ELLIPTIC.jwk()], kid=None)
    yield _published("same_kid", "Two types of key with one kid", kinds, lambda: [_named(ELLIPTIC), _main()])
    yield _published("twice", "Two keys of a type with one kid", kinds, lambda: [_main(), _named(SECOND)], "kid")
    short = "RFC 7518 section 3.3"
    yield _published("short", "An RSA key of 1,024 bits", short, lambda: [SHORT.jwk()], "kid", key=SHORT, kid="short")
    yield _published("strange", "Unusable keys as well", "RFC 7517 section 5", lambda: [*_UNUSABLE, _main()])
    yield _published("empty", "No keys", "RFC 7517 section 5", list, "kid")


_UNUSABLE: Final[tuple[Any, ...]] = (
    5, {}, {"kty": "oct", "k": "c2VjcmV0", "kid": "main", "alg": "HS256"}, {"kty": "RSA", "kid": "main"},
)  # fmt: skip


def _published(
    name: str, title: str, clause: str, keys: Callable[[], list[Any]], rule: str = "",
    *, key: ProviderKey = MAIN, kid: str | None = "main",
) -> Alteration:  # fmt: skip
    def publish(draft: Draft) -> None:
        draft.body["keys"] = keys()

    def sign(token: IdToken) -> None:
        token.key = key
        token.header["kid"] = kid
        if kid is None:
            del token.header["kid"]

    changes: dict[str, Change] = {"keys": publish, "id_token": sign}
    return Alteration(f"keys_{name}", title, clause, changes, rule and f"{TOKEN_RULE}{rule}")


def _main(*lacks: str) -> dict[str, Any]:
    return without(MAIN.jwk(), *lacks)


def _named(key: ProviderKey) -> dict[str, Any]:
    return {**key.jwk(), "kid": "main"}


def _remove(claim: str) -> Change:
    return lambda token: token.claims.pop(claim)


def _replace_claims(claims: Any) -> Change:
    return lambda token: setattr(token, "claims", claims)


def _append(claim: str, text: str) -> Change:
    return lambda token: token.claims.__setitem__(claim, token.claims[claim] + text)


def _audience(*further: str | None) -> Change:
    """Return a change that makes `aud` a list; None adds the client again."""

    def change(token: IdToken) -> None:
        client = token.claims["aud"]
        token.claims["aud"] = [client, *(client if each is None else each for each in further)]

    return change


def _with_own_key(token: IdToken) -> None:
    token.key = UNPUBLISHED
    token.header["jwk"] = UNPUBLISHED.jwk()


def _with_public_key(token: IdToken) -> None:
    token.header["alg"], token.secret = "HS256", MAIN.pem()


def _with_other_claims(token: IdToken) -> str:
    head, _, signature = token.signed().split(".")
    return f"{head}.{part({**token.claims, 'sub': 'usr_mallory'})}.{signature}"


def _unsigned(token: IdToken) -> str:
    return f"{token.signed().rpartition('.')[0]}."


def _nested(token: IdToken) -> None:
    token.claims = IdToken(dict(token.header), token.claims).signed()
    token.header["cty"] = "JWT"


ALTERATIONS: Final = (*_types(), *_values(), *_headers(), *_forms(), *_keys())

"""Clients' keys and what they sign: JWTs verified by an explicit list of algorithms (RFC 7515, RFC 8725)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.fernet import InvalidToken, MultiFernet
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from rolecall_auth.jose.signing_keys import KeysError
from rolecall_auth.models.client import Client
from rolecall_auth.outbound.fetcher import FetchBusy, Fetcher
from rolecall_auth.outbound.policy import FetchError

MAX_LENGTH: Final = 8192
"""Characters of a JWT that a client sends."""

MAX_KEYS: Final = 50
"""Of one set, that are looked at."""

MAX_SETS: Final = 256
"""Sets of keys, and secrets, whose key objects a process keeps."""

RSA_BITS: Final = range(2048, 8193)
"""RFC 7518 section 3.3; more only costs time."""

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")

_NO_KEY_FROM_OUTSIDE: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "enc", "zip"})
"""Header parameters that name a key that is not the client's registered one, or ask for what we do not do."""

_TEXT: Final = frozenset({"iss", "sub", "jti"})
_TIME: Final = frozenset({"exp", "nbf", "iat"})

_JWK_SET: Final = "application/jwk-set+json, application/json"

PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that nobody but its owner may know (RFC 7518 section 6)."""

PublicKeyObject = ECKey | RSAKey | OKPKey

_KINDS: Final[Mapping[tuple[Any, Any], tuple[Callable[[Any], PublicKeyObject], tuple[str, ...], frozenset[str]]]] = {
    ("RSA", None): (RSAKey.import_key, ("kty", "n", "e"), frozenset({"RS256", "PS256"})),
    ("EC", "P-256"): (ECKey.import_key, ("kty", "crv", "x", "y"), frozenset({"ES256"})),
    ("OKP", "Ed25519"): (OKPKey.import_key, ("kty", "crv", "x"), frozenset({"EdDSA"})),
}
"""By `kty` and `crv`: how it is imported, from which members, and the algorithms that it is for."""


class BadJWT(Exception):
    """A client's JWT is not what it must be; the text says why, for logs and for who watches."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of a client, imported: its `kid` if it has one, and the algorithms that it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKeyObject


class _Registry(jws.JWSRegistry):
    """Exactly these algorithms; without joserfc's warning that EdDSA has a newer name (RFC 9864)."""

    def get_alg(self, name: str) -> Any:
        """The algorithm; `verified` has judged its name."""
        return self.algorithms[name]


_REGISTRY: Final = _Registry(strict_check_header=False)


class ClientKeys:
    """The keys of all clients; one for the life of a process, safe for threads.

    Args:
        fetcher: asks for what a `jwks_uri` names.
        cipher: opens the secrets of clients that sign with them.
    """

    def __init__(self, fetcher: Fetcher, cipher: MultiFernet) -> None:
        self._fetcher = fetcher
        self._cipher = cipher
        self._secret = lru_cache(maxsize=MAX_SETS)(self._open)

    def verified(
        self, client: Client, token: str, *, algorithms: Collection[str], types: Collection[str] = ()
    ) -> dict[str, Any]:
        """The claims of a JWT that the client signed; who asks for them judges them (RFC 7519 section 7.2).

        Args:
            algorithms: those that are accepted, of RS256, ES256, PS256, EdDSA and HS256.
            types: what `typ` may be besides absent or `JWT`, without `application/` (RFC 8725 section 3.11).

        Raises:
            BadJWT: it is none, or not signed by this client in this way.
            KeysError: DATA_KEY does not open the client's secret.
            OAuthError: temporarily_unavailable, when too much is being fetched.
        """
        header, claims = unverified(token)
        algorithm, kid = header["alg"], header.get("kid")
        if algorithm not in algorithms:
            raise BadJWT("signed with an algorithm that is not accepted")
        typ = header.get("typ", "JWT")
        if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in {"jwt", *types}:
            raise BadJWT("a JWT of another type")
        if kid is not None and not isinstance(kid, str):
            raise BadJWT("kid is no string")
        for key in [self._secret_of(client)] if algorithm == "HS256" else self._keys(client, algorithm, kid):
            with suppress(JoseError, ValueError, TypeError):
                jws.deserialize_compact(token.encode(), key, registry=_REGISTRY)
                return claims
        raise BadJWT("the signature is wrong")

    def of(self, client: Client) -> Iterator[tuple[PublicKey, ...]]:
        """The client's public keys (RFC 7591 section 2); then, for who misses one, as its `jwks_uri` has them now.

        Raises:
            BadJWT: they cannot be fetched, or are no JWK Set.
            OAuthError: temporarily_unavailable, when too much is being fetched.
        """
        if client.jwks is not None:
            yield public_keys(json.dumps(client.jwks).encode())
        elif client.jwks_uri is not None:
            yield self._fetched(client.jwks_uri)
            yield self._fetched(client.jwks_uri, renew=True)

    def _keys(self, client: Client, algorithm: str, kid: str | None) -> Iterator[PublicKeyObject]:
        """The key that fits; and for who finds that it does not, the one that is published now, if it is another."""
        found: PublicKeyObject | None = None
        for keys in self.of(client):
            fitting = [each.key for each in keys if algorithm in each.algorithms and kid in {None, each.kid}]
            if len(fitting) > 1:
                raise BadJWT("several keys fit, and none is named (OpenID Connect Core section 10.1)")
            if fitting and fitting[0] is not found:
                found = fitting[0]
                yield found
        if found is None:
            raise BadJWT("none of the client's keys fits")

    def _fetched(self, jwks_uri: str, **options: bool) -> tuple[PublicKey, ...]:
        try:
            return public_keys(self._fetcher.get(jwks_uri, accept=_JWK_SET, **options).body)
        except FetchBusy as error:
            raise error.refusal() from error
        except FetchError as error:
            raise BadJWT(f"jwks_uri: {error}") from error

    def _secret_of(self, client: Client) -> OctKey:
        if client.secret_sealed is None:
            raise BadJWT("the client has no secret to sign with")
        return self._secret(client.secret_sealed)

    def _open(self, sealed: bytes) -> OctKey:
        try:
            return OctKey.import_key(self._cipher.decrypt(sealed))
        except InvalidToken as error:
            raise KeysError("DATA_KEY does not open a client's secret; set the one that sealed it") from error


@lru_cache(maxsize=MAX_SETS)
def public_keys(document: bytes) -> tuple[PublicKey, ...]:
    """The keys of a JWK Set that may verify signatures; others are passed over (RFC 7517 section 5).

    Passed over are: unknown types, curves and sizes, keys for something else (`use`, `key_ops`, `alg`), secret ones,
    and private ones, which everybody knows by now. A set is imported once.

    Raises:
        BadJWT: it is no JWK Set.
    """
    keys = _parsed(document).get("keys")
    if not isinstance(keys, list):
        raise BadJWT("no JWK Set")
    return tuple(key for key in map(_public_key, keys[:MAX_KEYS]) if key is not None)


def _public_key(jwk: Any) -> PublicKey | None:
    if not isinstance(jwk, dict) or jwk.keys() & PRIVATE:
        return None
    if not all(isinstance(jwk.get(name, ""), str) for name in ("kty", "crv", "kid", "alg", "use")):
        return None
    kind = _KINDS.get((jwk.get("kty"), jwk.get("crv")))
    if kind is None or jwk.get("use", "sig") != "sig":
        return None
    importer, members, algorithms = kind
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if "alg" in jwk:
        algorithms &= {jwk["alg"]}
    public: dict[str, Any] = {name: jwk.get(name) for name in members}
    if not algorithms or not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        if "n" in public and int.from_bytes(_decoded(public["n"])).bit_length() not in RSA_BITS:
            return None
        key = importer(public)
    except (BadJWT, JoseError, ValueError, TypeError, KeyError, OverflowError, UnsupportedAlgorithm):
        return None
    return PublicKey(jwk.get("kid"), algorithms, key)


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWS in compact form, of the right types and without what we never accept, else unjudged.

    `alg` is a string, registered claims have the types of RFC 7519 section 4.1. Nothing of it is proven.

    Raises:
        BadJWT: it is no such JWT.
    """
    match = _COMPACT.fullmatch(token) if len(token) <= MAX_LENGTH else None
    if match is None:
        raise BadJWT("no JWS in compact form, or too long")
    header, claims = (_parsed(_decoded(segment)) for segment in match.groups())
    if not isinstance(header.get("alg"), str):
        raise BadJWT("alg is no string")
    if header.keys() & _NO_KEY_FROM_OUTSIDE:
        raise BadJWT("a header parameter that is never accepted")
    if not all(isinstance(claims[name], str) for name in _TEXT & claims.keys()):
        raise BadJWT("iss, sub or jti is no string")
    if not all(_is_number(claims[name]) for name in _TIME & claims.keys()):
        raise BadJWT("exp, nbf or iat is no number")
    audience = claims.get("aud", [])
    if not all(isinstance(each, str) for each in (audience if isinstance(audience, list) else [audience])):
        raise BadJWT("aud is neither a string nor strings")
    return header, claims


def _decoded(segment: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError as error:
        raise BadJWT("no base64url") from error


def _parsed(text: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice: whoever reads it next may take the other (RFC 7515 section 4)."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=each_once, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise BadJWT("no JSON") from error
    if not isinstance(value, dict):
        raise BadJWT("no JSON object")
    return value


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these members, for a JSON parser (RFC 8259 section 4).

    Raises:
        ValueError: a name stands twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)

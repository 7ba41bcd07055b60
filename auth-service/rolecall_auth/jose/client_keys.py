"""Client keys, and the verification of JWTs that clients sign (RFC 7515, RFC 8725)."""

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
"""Maximum length of a client's JWT in characters."""

LEEWAY: Final = 30
"""Seconds that a client's clock may be ahead of the server's."""

MAX_KEYS: Final = 50
"""Maximum number of keys that are read from a key set."""

MAX_SETS: Final = 256
"""Maximum number of key sets, and of secrets, whose key objects a process caches."""

RSA_BITS: Final = range(2048, 8193)
"""Allowed sizes of RSA keys (RFC 7518 section 3.3); larger keys only cost time."""

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")

_REJECTED_HEADERS: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "enc", "zip"})
"""Header parameters that name an unregistered key, or require an unsupported feature."""

_TEXT: Final = frozenset({"iss", "sub", "jti"})
_TIME: Final = frozenset({"exp", "nbf", "iat"})

_JWK_SET: Final = "application/jwk-set+json, application/json"

PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""The private members of a JWK (RFC 7518 section 6)."""

PublicKeyObject = ECKey | RSAKey | OKPKey

_KINDS: Final[Mapping[tuple[Any, Any], tuple[Callable[[Any], PublicKeyObject], tuple[str, ...], frozenset[str]]]] = {
    ("RSA", None): (RSAKey.import_key, ("kty", "n", "e"), frozenset({"RS256", "PS256"})),
    ("EC", "P-256"): (ECKey.import_key, ("kty", "crv", "x", "y"), frozenset({"ES256"})),
    ("OKP", "Ed25519"): (OKPKey.import_key, ("kty", "crv", "x"), frozenset({"EdDSA"})),
}
"""The import function, the public members, and the algorithms of a key, by `kty` and `crv`."""


class BadJWT(Exception):
    """A client's JWT is not valid; the message is for logs and recordings, not for the client."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An imported key of a client, with the algorithms that it may verify."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKeyObject


class _Registry(jws.JWSRegistry):
    """A registry without joserfc's warning that EdDSA has a newer name (RFC 9864)."""

    def get_alg(self, name: str) -> Any:
        """Return the algorithm; `verified_claims` has already checked its name."""
        return self.algorithms[name]


_REGISTRY: Final = _Registry(strict_check_header=False)


class ClientKeys:
    """The keys of all clients. One instance serves a process; it is thread-safe.

    Args:
        fetcher: fetches key sets from `jwks_uri`.
        cipher: decrypts the secrets of clients that sign with them.
    """

    def __init__(self, fetcher: Fetcher, cipher: MultiFernet) -> None:
        self._fetcher = fetcher
        self._cipher = cipher
        self._secret = lru_cache(maxsize=MAX_SETS)(self._decrypt)

    def verified_claims(
        self, client: Client, token: str, *, algorithms: Collection[str], types: Collection[str] = ()
    ) -> dict[str, Any]:
        """Verify the signature and type of a client's JWT and return its claims, which the caller must validate.

        Args:
            algorithms: the accepted algorithms, from RS256, ES256, PS256, EdDSA, and HS256.
            types: accepted values of `typ` besides `JWT`, which is the default, without `application/` (RFC 8725
                section 3.11).

        Raises:
            BadJWT: the JWT is malformed, or not signed by this client with an accepted algorithm.
            KeysError: DATA_KEY does not decrypt the client's secret.
            OAuthError: temporarily_unavailable, if too many fetches are running.
        """
        header, claims = unverified_jwt(token)
        algorithm, kid = header["alg"], header.get("kid")
        if algorithm not in algorithms:
            raise BadJWT(f"the algorithm is not one of {', '.join(algorithms)}")
        typ = header.get("typ", "JWT")
        if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in {"jwt", *types}:
            raise BadJWT("the typ is not accepted")
        if kid is not None and not isinstance(kid, str):
            raise BadJWT("kid is not a string")
        for key in [self._secret_of(client)] if algorithm == "HS256" else self._keys(client, algorithm, kid):
            with suppress(JoseError, ValueError, TypeError):
                jws.deserialize_compact(token.encode(), key, registry=_REGISTRY)
                return claims
        raise BadJWT("the signature is wrong")

    def keys_for(self, client: Client) -> Iterator[tuple[PublicKey, ...]]:
        """Yield the client's public keys (RFC 7591 section 2), then the keys that its `jwks_uri` publishes now.

        The second set is for callers that did not find a key in the first one, which may be cached.

        Raises:
            BadJWT: the keys cannot be fetched, or are not a JWK Set.
            OAuthError: temporarily_unavailable, if too many fetches are running.
        """
        if client.jwks is not None:
            yield public_keys(json.dumps(client.jwks).encode())
        elif client.jwks_uri is not None:
            yield self._fetch(client.jwks_uri)
            yield self._fetch(client.jwks_uri, renew=True)

    def _keys(self, client: Client, algorithm: str, kid: str | None) -> Iterator[PublicKeyObject]:
        """Yield the matching key, then the matching key that is published now, if it differs."""
        found: PublicKeyObject | None = None
        for keys in self.keys_for(client):
            matching = [each.key for each in keys if algorithm in each.algorithms and kid in {None, each.kid}]
            if len(matching) > 1:
                raise BadJWT("several keys match, so kid is required (OpenID Connect Core section 10.1)")
            if matching and matching[0] is not found:
                found = matching[0]
                yield found
        if found is None:
            raise BadJWT("no key of the client matches")

    def _fetch(self, jwks_uri: str, **options: bool) -> tuple[PublicKey, ...]:
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

    def _decrypt(self, sealed: bytes) -> OctKey:
        try:
            return OctKey.import_key(self._cipher.decrypt(sealed))
        except InvalidToken as error:
            raise KeysError(
                "DATA_KEY does not decrypt a client's secret. Set the DATA_KEY that encrypted it."
            ) from error


@lru_cache(maxsize=MAX_SETS)
def public_keys(document: bytes) -> tuple[PublicKey, ...]:
    """Return the keys of a JWK Set that may verify signatures (RFC 7517 section 5).

    Keys are skipped if their type, curve, or size is unknown, if they have another purpose (`use`, `key_ops`, `alg`),
    or if they are secret or private, and therefore compromised. The result is cached.

    Raises:
        BadJWT: the document is not a JWK Set.
    """
    keys = _parsed(document).get("keys")
    if not isinstance(keys, list):
        raise BadJWT("not a JWK Set")
    return tuple(key for key in map(_public_key, keys[:MAX_KEYS]) if key is not None)


def can_verify(keys: Collection[PublicKey], algorithm: str) -> bool:
    """Return whether a JWT with this algorithm can select one of the keys (OpenID Connect Core section 10.1)."""
    kids = [key.kid for key in keys if algorithm in key.algorithms]
    return len(kids) == 1 or any(kid is not None and kids.count(kid) == 1 for kid in kids)


def _public_key(jwk: Any) -> PublicKey | None:
    if not isinstance(jwk, dict):
        return None
    jwk = {name: value for name, value in jwk.items() if value is not None}
    if jwk.keys() & PRIVATE:
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


def unverified_jwt(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a JWS in compact form, without verifying its signature.

    `alg` is a string, and registered claims have the types of RFC 7519 section 4.1.

    Raises:
        BadJWT: the JWT is malformed, or has a header parameter that is never accepted.
    """
    match = _COMPACT.fullmatch(token) if len(token) <= MAX_LENGTH else None
    if match is None:
        raise BadJWT("not a JWS in compact form, or too long")
    header, claims = (_parsed(_decoded(segment)) for segment in match.groups())
    if not isinstance(header.get("alg"), str):
        raise BadJWT("alg is not a string")
    if header.keys() & _REJECTED_HEADERS:
        raise BadJWT("the header has a parameter that is never accepted")
    if not all(isinstance(claims[name], str) for name in _TEXT & claims.keys()):
        raise BadJWT("iss, sub, or jti is not a string")
    if not all(_is_number(claims[name]) for name in _TIME & claims.keys()):
        raise BadJWT("exp, nbf, or iat is not a number")
    audience = claims.get("aud", [])
    if not all(isinstance(each, str) for each in (audience if isinstance(audience, list) else [audience])):
        raise BadJWT("aud is not a string or a list of strings")
    return header, claims


def _decoded(segment: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError as error:
        raise BadJWT("not base64url") from error


def _parsed(text: bytes) -> dict[str, Any]:
    """Parse a JSON object without duplicate names, because another parser might use the other member.

    See RFC 7515 section 4.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=object_without_duplicates, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BadJWT("not JSON") from error
    if not isinstance(value, dict):
        raise BadJWT("not a JSON object")
    return value


def object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object from its members, as an `object_pairs_hook` (RFC 8259 section 4).

    Raises:
        ValueError: a name occurs twice.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)

"""Signing keys: one active key per algorithm, rotated through timed states, and cached in memory."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from sqlalchemy.orm import Session

from rolecall import clock
from rolecall.sql import UNAVAILABLE, Database
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall.web.documents import Document
from rolecall_auth.models.client import Client
from rolecall_auth.models.key import SigningKey
from rolecall_auth.models.resource import Resource

log = logging.getLogger(__name__)

# RFC 9864 renames EdDSA to Ed25519, but OpenID Connect clients know the old name
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

RELOAD_AFTER: Final = 1.0
"""Seconds after which a process reads the keys again. A new key is published for much longer than that before it
signs."""

LEEWAY: Final = 60.0
"""Seconds that a key verifies after its last token has expired, to allow for clock differences."""

PrivateKey = ECKey | RSAKey | OKPKey

_GENERATORS: Final[dict[str, Callable[[], PrivateKey]]] = {
    "ES256": lambda: ECKey.generate_key("P-256"),
    "RS256": lambda: RSAKey.generate_key(2048),
    "PS256": lambda: RSAKey.generate_key(2048),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}
_IMPORTERS: Final[dict[str, Callable[[dict[str, Any]], PrivateKey]]] = {
    "ES256": ECKey.import_key,
    "RS256": RSAKey.import_key,
    "PS256": RSAKey.import_key,
    "EdDSA": OKPKey.import_key,
}

_LONGEST_OF_RESOURCES: Final = sa.select(sa.func.max(Resource.access_token_lifetime))

_CANNOT_DECRYPT: Final = "DATA_KEY does not decrypt the keys in the database. Set the DATA_KEY that encrypted them."


class KeysError(Exception):
    """The keys cannot be used; the message explains how to fix it."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key in memory; times are in seconds since the epoch, and None means no end.

    `longest_token` is the lifetime in seconds of the longest token that the key may sign.
    """

    kid: str
    algorithm: str
    private: PrivateKey
    signs_from: float
    signs_until: float | None
    verifies_until: float | None
    longest_token: int

    def status(self, now: float) -> str:
        """Return the state of the key: published, signing, verifying, or retired."""
        if self.verifies_until is not None and self.verifies_until <= now:
            return "retired"
        if self.signs_from > now:
            return "published"
        return "signing" if self.signs_until is None or now < self.signs_until else "verifying"

    def public_jwk(self) -> dict[str, Any]:
        """Return the public part of the key (RFC 7517 section 4)."""
        return {**self.private.as_dict(private=False), "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any], *, typ: str) -> str:
        """Return a signed JWT with this `typ` header."""
        payload = urlsafe_b64encode(_encode(claims).encode()).rstrip(b"=")
        message = b"%b.%b" % (_header(self.algorithm, typ, self.kid), payload)
        signature = _ALGORITHMS[self.algorithm].sign(message, self.private)
        return (message + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode

_ALGORITHMS: Final = {name: JWSRegistry.algorithms[name] for name in _GENERATORS}


@lru_cache(maxsize=64)
def _header(algorithm: str, typ: str, kid: str) -> bytes:
    """Return the protected header of the JWS Compact Serialization (RFC 7515 section 7.1)."""
    header = {"alg": algorithm, "typ": typ, "kid": kid}
    return urlsafe_b64encode(_encode(header).encode()).rstrip(b"=")


@dataclass(frozen=True, slots=True)
class _Loaded:
    at: float
    keys: tuple[Key, ...]


class _StoredKeys:
    """The keys in SQL, with encrypted private parts."""

    def __init__(self, database: Database, cipher: MultiFernet, token_lifetime: int) -> None:
        self._database = database
        self._cipher = cipher
        self._token_lifetime = token_lifetime
        self._imported: dict[str, PrivateKey] = {}

    def load(self) -> tuple[Key, ...]:
        """Return all keys, the oldest first.

        Raises:
            KeysError: DATA_KEY does not decrypt a key.
        """
        rows = self._rows()
        if any(_needs_extension(row, lifetime) for row, lifetime in rows):
            self._extend_verification()
            rows = self._rows()
        return tuple(
            Key(
                row.kid,
                row.algorithm,
                self._import(row),
                row.signs_from,
                row.signs_until,
                row.verifies_until,
                row.longest_token,
            )
            for row, _ in rows
        )

    def generate(self, algorithm: str, *, signs_from: float) -> SigningKey:
        """Return a new row, which is not stored yet."""
        key = _GENERATORS[algorithm]()
        kid = key.thumbprint()
        return SigningKey(
            kid=kid,
            algorithm=algorithm,
            private_sealed=self._cipher.encrypt(json.dumps(key.as_dict(private=True)).encode()),
            public_jwk=key.as_dict(private=False),
            signs_from=signs_from,
            longest_token=self._token_lifetime,
        )

    def longest_lifetime(self, session: Session) -> int:
        """Return the longest lifetime of tokens that are signed now: that of the setting or of a resource."""
        return max(self._token_lifetime, session.scalar(_LONGEST_OF_RESOURCES) or 0)

    def _rows(self) -> list[tuple[SigningKey, int]]:
        """Return the keys, each with the longest lifetime of tokens that are signed now, in one query."""
        query = sa.select(SigningKey, _LONGEST_OF_RESOURCES.scalar_subquery())
        with self._database.read() as session:
            rows = session.execute(query.order_by(SigningKey.created_at, SigningKey.kid))
            return [(row, max(self._token_lifetime, lifetime or 0)) for row, lifetime in rows]

    def _extend_verification(self) -> None:
        """Extend the time for which keys verify, before the first token with the longer lifetime is signed."""
        with self._database.transaction() as session:
            lifetime = self.longest_lifetime(session)
            for row in session.scalars(sa.select(SigningKey).with_for_update()):
                if _needs_extension(row, lifetime):
                    row.longest_token = lifetime
                    if row.signs_until is not None and row.verifies_until is not None:
                        row.verifies_until = max(row.verifies_until, row.signs_until + row.longest_token + LEEWAY)

    def _import(self, row: SigningKey) -> PrivateKey:
        if row.kid not in self._imported:
            try:
                decrypted = self._cipher.decrypt(row.private_sealed)
            except InvalidToken as error:
                raise KeysError(_CANNOT_DECRYPT) from error
            self._imported[row.kid] = _IMPORTERS[row.algorithm](json.loads(decrypted))
        return self._imported[row.kid]


def _needs_extension(row: SigningKey, lifetime: int) -> bool:
    """Whether the key may sign tokens that live longer than those it has signed so far."""
    signs = row.signs_until is None or clock.now() < row.signs_until
    return signs and row.longest_token < lifetime


class Keys:
    """The issuer's keys, read from SQL at most once per `RELOAD_AFTER` seconds.

    Args:
        cipher: encrypts and decrypts the private parts.
        jwks_max_age: seconds for which others may cache the key set.
        token_lifetime: lifetime in seconds of the tokens signed now, if their resource has no other; tokens signed
            under a longer setting keep theirs.
    """

    def __init__(self, database: Database, cipher: MultiFernet, *, jwks_max_age: int, token_lifetime: int) -> None:
        self._database = database
        self._cipher = cipher
        self._stored = _StoredKeys(database, cipher, token_lifetime)
        self._jwks_max_age = jwks_max_age
        self._loaded = _Loaded(float("-inf"), ())
        self._prepared: tuple[list[str], Document | None] = ([], None)
        self._lock = threading.Lock()

    @property
    def published_before(self) -> int:
        """Seconds between the publication of a key and its first signature.

        By then each process has read the key, and key sets without it have expired from caches.
        """
        return self._jwks_max_age + int(RELOAD_AFTER)

    def signing(self, algorithm: str, lifetime: int = 0) -> Key:
        """Return the active key of the algorithm.

        Args:
            lifetime: lifetime in seconds of the token to be signed. If it exceeds the key's `longest_token`, the keys
                are read again, because a resource has just got a longer lifetime.

        Raises:
            KeysError: the database has not been initialized, so it contains no active key.
        """
        key = self._active(algorithm)
        if key.longest_token < lifetime:
            self._loaded = replace(self._loaded, at=float("-inf"))
            key = self._active(algorithm)
        return key

    def _active(self, algorithm: str) -> Key:
        now = clock.now()
        active = [
            key
            for key in self._current()
            if key.algorithm == algorithm
            and key.signs_from <= now
            and (key.signs_until is None or now < key.signs_until)
        ]
        if not active:
            raise KeysError(f"There is no active {algorithm} key. Run `flask db-upgrade`.")
        return max(active, key=lambda key: key.signs_from)

    def verifying(self, kid: str) -> Key | None:
        """Return the published key with this id, or None; an unknown id causes the keys to be read again."""
        for wait in (False, True):
            found = next((key for key in self._published(wait=wait) if key.kid == kid), None)
            if found is not None:
                return found
        return None

    def public_set(self) -> Document:
        """Return the JWK Set (RFC 7517 section 5), which is rebuilt when the published keys change."""
        published = self._published()
        kids = [key.kid for key in published]
        prepared_for, document = self._prepared
        if document is None or kids != prepared_for:
            text = _encode({"keys": [key.public_jwk() for key in published]})
            document = Document.of(text, "application/jwk-set+json", self._jwks_max_age)
            self._prepared = (kids, document)
        return document

    def all_keys(self) -> tuple[Key, ...]:
        """Return all keys, including retired ones, the oldest first, without the cache."""
        return self._stored.load()

    def ensure(self) -> None:
        """Create the first key of each algorithm that has none; it signs immediately, whatever the clock offset."""
        with self._database.read() as session:
            missing = {*ID_TOKEN_ALGORITHMS} - {*session.scalars(sa.select(SigningKey.algorithm))}
        generated = [self._stored.generate(algorithm, signs_from=0.0) for algorithm in sorted(missing)]
        with self._database.transaction() as session:
            existing = {*session.scalars(sa.select(SigningKey.algorithm))}
            session.add_all(row for row in generated if row.algorithm not in existing)

    def rotate(self) -> list[str]:
        """Publish a new key per algorithm and return the key ids; each signs after `published_before` seconds.

        An algorithm with a published key that does not sign yet does not get another one, so two concurrent rotations
        create one key.
        """
        # generated before the rows are locked, because it takes time
        generated = {algorithm: self._stored.generate(algorithm, signs_from=0.0) for algorithm in ID_TOKEN_ALGORITHMS}
        signs_from = clock.now() + self.published_before
        new = []
        with self._database.transaction() as session:
            lifetime = self._stored.longest_lifetime(session)
            for algorithm in ID_TOKEN_ALGORITHMS:
                # a concurrent rotation waits here, and then reads the keys of the first one
                has_algorithm = SigningKey.algorithm == algorithm
                session.execute(
                    sa.select(SigningKey.kid).where(has_algorithm).order_by(SigningKey.kid).with_for_update()
                )
                current = list(
                    session.scalars(sa.select(SigningKey).where(has_algorithm, SigningKey.signs_until.is_(None)))
                )
                if any(key.signs_from > clock.now() for key in current):
                    continue
                for key in current:
                    key.signs_until = signs_from
                    key.verifies_until = signs_from + max(key.longest_token, lifetime) + LEEWAY
                row = generated[algorithm]
                row.signs_from = signs_from
                session.add(row)
                new.append(row.kid)
        self._loaded = _Loaded(float("-inf"), ())
        return new

    def retire(self, kid: str) -> list[str]:
        """Retire a key immediately, for example because it is compromised, and return the ids of new keys.

        If the key signs now, its successor or a new key signs from now on, although others may not have fetched it yet.

        Raises:
            KeysError: the key does not exist or is already retired.
        """
        now, new = clock.now(), []
        with self._database.transaction() as session:
            row = session.get(SigningKey, kid)
            if row is None or (row.verifies_until is not None and row.verifies_until <= now):
                raise KeysError(f"No key {kid} is published. Run `flask keys list` to show the keys.")
            query = sa.select(SigningKey).where(SigningKey.algorithm == row.algorithm, SigningKey.kid != kid)
            others = list(session.scalars(query))
            if row.signs_from > now:  # it has not signed yet, so its predecessor continues
                for other in others:
                    if other.signs_until == row.signs_from:
                        other.signs_until = other.verifies_until = None
            elif row.signs_until is None or row.signs_until > now:
                successor = next((other for other in others if other.signs_from > now), None)
                if successor is None:
                    successor = self._stored.generate(row.algorithm, signs_from=now)
                    session.add(successor)
                    new.append(successor.kid)
                successor.signs_from = now
            row.signs_from, row.signs_until, row.verifies_until = min(row.signs_from, now), now, now
        self._loaded = _Loaded(float("-inf"), ())
        return new

    def reseal(self) -> int:
        """Encrypt all private keys and all sealed client secrets with the newest key in DATA_KEY.

        Returns:
            The number of signing keys.

        Raises:
            KeysError: DATA_KEY does not decrypt one of them.
        """
        with self._database.transaction() as session:
            rows = list(session.scalars(sa.select(SigningKey)))
            try:
                for row in rows:
                    row.private_sealed = self._cipher.rotate(row.private_sealed)
                for client in session.scalars(sa.select(Client).where(Client.secret_sealed.is_not(None))):
                    client.secret_sealed = self._cipher.rotate(client.secret_sealed or b"")
            except InvalidToken as error:
                raise KeysError(_CANNOT_DECRYPT) from error
        return len(rows)

    def _published(self, *, wait: bool = False) -> list[Key]:
        now = clock.now()
        return [key for key in self._current(wait=wait) if key.verifies_until is None or now < key.verifies_until]

    def _current(self, *, wait: bool = False) -> tuple[Key, ...]:
        loaded = self._loaded
        if loaded.at > clock.cache_time() - RELOAD_AFTER:
            return loaded.keys
        # while another thread reads the keys, use the cached ones, unless the cache is empty or lacks the requested key
        if not self._lock.acquire(blocking=wait or not loaded.keys):
            return loaded.keys
        try:
            if self._loaded.at <= clock.cache_time() - RELOAD_AFTER:
                self._loaded = _Loaded(clock.cache_time(), self._load_or_keep())
            return self._loaded.keys
        finally:
            self._lock.release()

    def _load_or_keep(self) -> tuple[Key, ...]:
        """Read the keys; during an outage of the database, keep the cached ones, which cannot change meanwhile."""
        try:
            return self._stored.load()
        except UNAVAILABLE:
            if not self._loaded.keys:
                raise
            log.warning("The database is unavailable; using the cached signing keys")
            return self._loaded.keys

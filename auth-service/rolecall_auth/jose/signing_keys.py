"""The keys that sign: one active an algorithm, rotated in three timed states, kept as key objects in memory."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet
from joserfc.jwk import ECKey, OKPKey, RSAKey

from rolecall import clock
from rolecall.sql import UNAVAILABLE, Database
from rolecall.storage import digest
from rolecall.vocabulary import ID_TOKEN_ALGORITHMS
from rolecall_auth.models.client import Client
from rolecall_auth.models.key import SigningKey

log = logging.getLogger(__name__)

# RFC 9864 calls it Ed25519; OpenID Connect's clients know it by its old name
warnings.filterwarnings("ignore", message="EdDSA is deprecated")

RELOAD_AFTER: Final = 1.0
"""Seconds after which a process looks for new keys; a new key is published far longer before it signs."""

LEEWAY: Final = 60.0
"""Seconds that a retired key verifies beyond the longest token, for clocks that differ."""

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


_LOST: Final = "DATA_KEY does not open what is sealed in the database; set the one that sealed it"


class KeysError(Exception):
    """The keys cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key in memory."""

    kid: str
    algorithm: str
    private: PrivateKey
    signs_from: float
    signs_until: float | None
    verifies_until: float | None

    def condition(self, now: float) -> str:
        """In which of its timed states it is: published, signing, verifying or retired."""
        if self.verifies_until is not None and self.verifies_until <= now:
            return "retired"
        if self.signs_from > now:
            return "published"
        return "signing" if self.signs_until is None or now < self.signs_until else "verifying"


@dataclass(frozen=True, slots=True)
class _Loaded:
    at: float
    keys: tuple[Key, ...]


class Keys:
    """All keys of the issuer, read from SQL at most once in `RELOAD_AFTER` seconds.

    Args:
        cipher: opens the private parts.
        jwks_max_age: seconds for which others may keep the key set.
        token_lifetime: seconds that a token lives which is signed now; one from when they were more lives on.
    """

    def __init__(self, database: Database, cipher: MultiFernet, *, jwks_max_age: int, token_lifetime: int) -> None:
        self._database = database
        self._cipher = cipher
        self._jwks_max_age = jwks_max_age
        self._token_lifetime = token_lifetime
        self._loaded = _Loaded(float("-inf"), ())
        self._lock = threading.Lock()
        self._imported: dict[str, PrivateKey] = {}

    @property
    def published_before(self) -> int:
        """Seconds that a key is published before it signs: the last key set without it is given when every process has
        read it, and may be kept for its max-age."""
        return self._jwks_max_age + int(RELOAD_AFTER)

    def signing(self, algorithm: str) -> Key:
        """The one active key of the algorithm.

        Raises:
            KeysError: there is none; the database was never prepared.
        """
        now = clock.now()
        active = [
            key
            for key in self._current()
            if key.algorithm == algorithm
            and key.signs_from <= now
            and (key.signs_until is None or now < key.signs_until)
        ]
        if not active:
            raise KeysError(f"there is no {algorithm} key; run `flask db-upgrade`")
        return max(active, key=lambda key: key.signs_from)

    def verifying(self, kid: str) -> Key | None:
        """The key of this name, while it is published; the newest are looked for before it counts as unknown."""
        for wait in (False, True):
            found = next((key for key in self._published(wait=wait) if key.kid == kid), None)
            if found is not None:
                return found
        return None

    def public_set(self) -> tuple[bytes, str]:
        """The JWK Set (RFC 7517 section 5) as JSON, and its entity tag."""
        jwks = [
            {**key.private.as_dict(private=False), "kid": key.kid, "alg": key.algorithm, "use": "sig"}
            for key in self._published()
        ]
        body = json.dumps({"keys": jwks}, separators=(",", ":")).encode()
        return body, digest(body.decode())[:32]

    def ensure(self) -> None:
        """Make the first key of each algorithm where there is none; it signs at once, whatever a clock is turned to."""
        with self._database.read() as session:
            missing = {*ID_TOKEN_ALGORITHMS} - {*session.scalars(sa.select(SigningKey.algorithm))}
        made = [self._new(algorithm, signs_from=0.0) for algorithm in sorted(missing)]
        with self._database.transaction() as session:
            meanwhile = {*session.scalars(sa.select(SigningKey.algorithm))}
            session.add_all(row for row in made if row.algorithm not in meanwhile)

    def rotate(self) -> list[str]:
        """Publish a new key an algorithm; it takes over when everybody has had time to fetch it. Gives the key ids.

        A key that is published and has not begun to sign is left to begin: two rotations at once make one.
        """
        # made before anybody has to wait for the rows: a key takes its time
        made = {algorithm: self._new(algorithm, signs_from=0.0) for algorithm in ID_TOKEN_ALGORITHMS}
        begins = clock.now() + self.published_before
        new = []
        with self._database.transaction() as session:
            for algorithm in ID_TOKEN_ALGORITHMS:
                # of two rotations at once, one waits here, and then reads what the other has made
                of_algorithm = SigningKey.algorithm == algorithm
                session.execute(
                    sa.select(SigningKey.kid).where(of_algorithm).order_by(SigningKey.kid).with_for_update()
                )
                current = list(
                    session.scalars(sa.select(SigningKey).where(of_algorithm, SigningKey.signs_until.is_(None)))
                )
                if any(key.signs_from > clock.now() for key in current):
                    continue
                for key in current:
                    key.signs_until = begins
                    key.verifies_until = begins + max(key.longest_token, self._token_lifetime) + LEEWAY
                row = made[algorithm]
                row.signs_from = begins
                session.add(row)
                new.append(row.kid)
        self._loaded = _Loaded(float("-inf"), ())
        return new

    def everything(self) -> tuple[Key, ...]:
        """All keys, the oldest first."""
        return self._load()

    def retire(self, kid: str) -> list[str]:
        """Sign and verify with a key no longer, at once: for one that somebody else may hold. Gives new key ids.

        If it signs now, the next key does so from now on, or a new one, though not everybody has fetched it yet.

        Raises:
            KeysError: there is no such key, or it is retired already.
        """
        now, new = clock.now(), []
        with self._database.transaction() as session:
            row = session.get(SigningKey, kid)
            if row is None or (row.verifies_until is not None and row.verifies_until <= now):
                raise KeysError(f"no key {kid} is published; `flask keys list` shows those that are")
            query = sa.select(SigningKey).where(SigningKey.algorithm == row.algorithm, SigningKey.kid != kid)
            others = list(session.scalars(query))
            if row.signs_from > now:  # it never signed: the one before it goes on
                for other in others:
                    if other.signs_until == row.signs_from:
                        other.signs_until = other.verifies_until = None
            elif row.signs_until is None or row.signs_until > now:
                successor = next((other for other in others if other.signs_from > now), None)
                if successor is None:
                    successor = self._new(row.algorithm, signs_from=now)
                    session.add(successor)
                    new.append(successor.kid)
                successor.signs_from = now
            row.signs_from, row.signs_until, row.verifies_until = min(row.signs_from, now), now, now
        self._loaded = _Loaded(float("-inf"), ())
        return new

    def reseal(self) -> int:
        """Seal every private part, and every secret that a client signs with, under the newest of the keys in DATA_KEY.

        Gives the number of the signing keys.

        Raises:
            KeysError: none of them opens it.
        """
        with self._database.transaction() as session:
            rows = list(session.scalars(sa.select(SigningKey)))
            try:
                for row in rows:
                    row.private_sealed = self._cipher.rotate(row.private_sealed)
                for client in session.scalars(sa.select(Client).where(Client.secret_sealed.is_not(None))):
                    client.secret_sealed = self._cipher.rotate(client.secret_sealed or b"")
            except InvalidToken as error:
                raise KeysError(_LOST) from error
        return len(rows)

    def _published(self, *, wait: bool = False) -> list[Key]:
        now = clock.now()
        return [key for key in self._current(wait=wait) if key.verifies_until is None or now < key.verifies_until]

    def _current(self, *, wait: bool = False) -> tuple[Key, ...]:
        loaded = self._loaded
        if loaded.at > clock.cache_time() - RELOAD_AFTER:
            return loaded.keys
        # who has keys to go on with does not wait for somebody else's reading, unless one is missing
        if not self._lock.acquire(blocking=wait or not loaded.keys):
            return loaded.keys
        try:
            if self._loaded.at <= clock.cache_time() - RELOAD_AFTER:
                self._loaded = _Loaded(clock.cache_time(), self._load_or_keep())
            return self._loaded.keys
        finally:
            self._lock.release()

    def _load_or_keep(self) -> tuple[Key, ...]:
        """Keys that were read once outlive an outage of the database: nobody can change them meanwhile."""
        try:
            return self._load()
        except UNAVAILABLE:
            if not self._loaded.keys:
                raise
            log.warning("the signing keys cannot be read anew")
            return self._loaded.keys

    def _load(self) -> tuple[Key, ...]:
        rows = self._rows()
        if any(self._is_outlived(row) for row in rows):
            self._lengthen()
            rows = self._rows()
        return tuple(
            Key(row.kid, row.algorithm, self._import(row), row.signs_from, row.signs_until, row.verifies_until)
            for row in rows
        )

    def _rows(self) -> list[SigningKey]:
        with self._database.read() as session:
            return list(session.scalars(sa.select(SigningKey).order_by(SigningKey.created_at, SigningKey.kid)))

    def _is_outlived(self, row: SigningKey) -> bool:
        """Whether tokens that it may sign from now on live longer than those it has signed so far."""
        signs = row.signs_until is None or clock.now() < row.signs_until
        return signs and row.longest_token < self._token_lifetime

    def _lengthen(self) -> None:
        """Keep for how long the keys in office will have to verify, before the first such token is signed."""
        with self._database.transaction() as session:
            for row in session.scalars(sa.select(SigningKey).with_for_update()):
                if self._is_outlived(row):
                    row.longest_token = self._token_lifetime
                    if row.signs_until is not None and row.verifies_until is not None:
                        row.verifies_until = max(row.verifies_until, row.signs_until + row.longest_token + LEEWAY)

    def _import(self, row: SigningKey) -> PrivateKey:
        if row.kid not in self._imported:
            try:
                opened = self._cipher.decrypt(row.private_sealed)
            except InvalidToken as error:
                raise KeysError(_LOST) from error
            self._imported[row.kid] = _IMPORTERS[row.algorithm](json.loads(opened))
        return self._imported[row.kid]

    def _new(self, algorithm: str, *, signs_from: float) -> SigningKey:
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

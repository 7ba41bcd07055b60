"""The caches of an authorization server's metadata and keys: fetches, lifetimes, retries, and unknown keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rolecall import clock
from rolecall.checks import Check
from rolecall.errors import OAuthError
from rolecall.http import HttpResponse, Unreachable
from rolecall.issuer import (
    MAX_LIFETIME,
    MIN_LIFETIME,
    REFETCH_AFTER,
    RETRY_WITH_VALUE,
    RETRY_WITHOUT_VALUE,
    CachedKeys,
    CachedMetadata,
    endpoint,
    optional_endpoint,
)
from support.stack import wait_until

ISSUER = "http://auth.test"
JWKS = f"{ISSUER}/jwks"
CHECK = Check("test.issuer", "RFC 8414 section 3.3", "server_error", "The metadata names another issuer.")


def jwk(kid: str) -> dict[str, Any]:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(public)), "kid": kid, "alg": "ES256"}


@dataclass
class FakeHttp:
    """An HTTP client that returns the same document for every request, or fails; `gate` delays its responses."""

    document: Any
    cache_control: str = "public, max-age=300"
    status: int = 200
    is_down: bool = False
    gate: threading.Event | None = None
    urls: list[str] = field(default_factory=list)

    def send(self, _method: str, url: str) -> HttpResponse:
        self.urls.append(url)
        if self.gate is not None:
            assert self.gate.wait(60)
        if self.is_down:
            raise Unreachable(url, "connection refused")
        return HttpResponse(self.status, {"cache-control": self.cache_control}, json.dumps(self.document).encode(), 1.0)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances the clock of the caches."""
    start, passed = clock.monotonic(), [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: start + passed[0])

    def advance(seconds: float) -> None:
        passed[0] += seconds

    return advance


def metadata(http: FakeHttp, backchannel_url: str | None = None) -> CachedMetadata[str]:
    return CachedMetadata(
        http,  # type: ignore[arg-type]
        ISSUER,
        lambda document: endpoint(document, "jwks_uri", insecure=True),
        is_issuer=CHECK,
        backchannel_url=backchannel_url,
    )


def keys(http: FakeHttp, **options: Any) -> CachedKeys:
    return CachedKeys(http, lambda: JWKS, ["ES256"], **options)  # type: ignore[arg-type]


def good_metadata(jwks_uri: str = JWKS, **options: Any) -> FakeHttp:
    return FakeHttp({"issuer": ISSUER, "jwks_uri": jwks_uri}, **options)


def test_threads_without_metadata_share_one_fetch() -> None:
    http = good_metadata(gate=threading.Event())
    cached = metadata(http)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(cached.get) for _ in range(8)]
        wait_until(lambda: http.urls)
        http.gate.set()  # type: ignore[union-attr]
        assert {result.result() for result in results} == {JWKS}
    assert len(http.urls) == 1


def test_threads_do_not_wait_for_a_refresh(later: Callable[[float], None]) -> None:
    http = good_metadata()
    cached = metadata(http)
    cached.get()
    later(300)
    http.document, http.gate = {"issuer": ISSUER, "jwks_uri": "http://auth.test/new"}, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        refreshed = pool.submit(cached.get)
        wait_until(lambda: len(http.urls) == 2)
        assert [cached.get() for _ in range(3)] == [JWKS] * 3
        http.gate.set()
        assert refreshed.result() == "http://auth.test/new"
    assert cached.get() == "http://auth.test/new"
    assert len(http.urls) == 2


def test_threads_that_wait_for_a_failing_fetch_share_its_failure() -> None:
    http = good_metadata(gate=threading.Event(), is_down=True)
    cached = metadata(http)

    def failure() -> str:
        with pytest.raises(Unreachable) as error:
            cached.get()
        return error.value.reason

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(failure) for _ in range(8)]
        wait_until(lambda: http.urls)
        http.gate.set()  # type: ignore[union-attr]
        assert {result.result() for result in results} == {"connection refused"}
    assert len(http.urls) == 1


@pytest.mark.parametrize(
    ("cache_control", "lifetime"),
    [
        ("public, max-age=300", 300.0),
        ("max-age=1", MIN_LIFETIME),
        ("no-store", MIN_LIFETIME),
        ("", MIN_LIFETIME),
        ("max-age=99999999", MAX_LIFETIME),
    ],
)
def test_the_lifetime_is_bounded(later: Callable[[float], None], cache_control: str, lifetime: float) -> None:
    """RFC 9111 section 5.2.2: max-age, from 10 seconds to an hour."""
    http = good_metadata(cache_control=cache_control)
    cached = metadata(http)
    cached.get()
    later(lifetime - 1)
    cached.get()
    assert len(http.urls) == 1
    later(1)
    cached.get()
    assert len(http.urls) == 2


def test_a_failed_fetch_is_repeated_after_a_delay(later: Callable[[float], None]) -> None:
    http = good_metadata(is_down=True)
    cached = metadata(http)
    for _ in range(3):
        with pytest.raises(Unreachable):
            cached.get()
    assert len(http.urls) == 1
    later(RETRY_WITHOUT_VALUE)
    http.is_down = False
    assert cached.get() == JWKS
    assert len(http.urls) == 2


def test_old_metadata_outlive_an_outage(later: Callable[[float], None]) -> None:
    http = good_metadata()
    cached = metadata(http)
    cached.get()
    http.is_down = True
    later(300)
    for _ in range(3):
        assert cached.get() == JWKS
    assert len(http.urls) == 2
    later(RETRY_WITH_VALUE)
    assert cached.get() == JWKS
    assert len(http.urls) == 3


@pytest.mark.parametrize("issuer", ["http://evil.test", f"{ISSUER}/", None, 5])
def test_metadata_of_another_issuer_are_rejected(later: Callable[[float], None], issuer: Any) -> None:
    """RFC 8414 section 3.3."""
    http = FakeHttp({"issuer": issuer, "jwks_uri": "http://evil.test/jwks"})
    cached = metadata(http)
    for _ in range(2):
        with pytest.raises(OAuthError, match="another issuer"):
            cached.get()
    http.document = {"issuer": ISSUER, "jwks_uri": JWKS}
    later(RETRY_WITHOUT_VALUE)
    assert cached.get() == JWKS
    http.document = {"issuer": issuer, "jwks_uri": "http://evil.test/jwks"}
    later(300)
    assert cached.get() == JWKS, "another issuer's metadata replaced the cached metadata"


@pytest.mark.parametrize(("document", "status"), [([], 200), ({"issuer": ISSUER}, 200), ({"issuer": ISSUER}, 503)])
def test_a_response_without_metadata_counts_as_unreachable(document: Any, status: int) -> None:
    with pytest.raises(Unreachable):
        metadata(FakeHttp(document, status=status)).get()


def test_metadata_come_through_the_back_channel() -> None:
    http = good_metadata()
    metadata(http, "http://auth:8001").get()
    assert http.urls == ["http://auth:8001/.well-known/oauth-authorization-server"]


def test_an_unknown_key_is_fetched_again_but_not_for_each_token(later: Callable[[float], None]) -> None:
    http = FakeHttp({"keys": [jwk("one")]})
    cached = keys(http)
    assert cached.get("one", "ES256") is cached.get("one", "ES256") is not None
    http.document = {"keys": [jwk("one"), jwk("two")]}
    assert cached.get("two", "ES256") is not None, "the first unknown key is fetched immediately"
    for _ in range(3):
        assert cached.get("three", "ES256") is None
    assert len(http.urls) == 2
    later(REFETCH_AFTER)
    for _ in range(3):
        assert cached.get("three", "ES256") is None
    assert len(http.urls) == 3


def test_threads_with_an_unknown_key_share_one_fetch(later: Callable[[float], None]) -> None:
    http = FakeHttp({"keys": [jwk("one")]})
    cached = keys(http)
    cached.get("one", "ES256")
    later(REFETCH_AFTER)
    http.document, http.gate = {"keys": [jwk("one"), jwk("two")]}, threading.Event()
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(cached.get, "two", "ES256") for _ in range(8)]
        wait_until(lambda: len(http.urls) == 2)
        assert cached.get("one", "ES256") is not None, "a known key does not wait"
        http.gate.set()
        assert None not in [result.result() for result in results]
    assert len(http.urls) == 2


def test_known_keys_outlive_an_outage_and_unknown_ones_report_it(later: Callable[[float], None]) -> None:
    http = FakeHttp({"keys": [jwk("one")]})
    cached = keys(http)
    one = cached.get("one", "ES256")
    http.is_down = True
    later(REFETCH_AFTER)
    for _ in range(3):
        with pytest.raises(Unreachable):
            cached.get("two", "ES256")
        assert cached.get("one", "ES256") is one
    assert len(http.urls) == 2
    http.is_down = False
    later(RETRY_WITH_VALUE)
    assert cached.get("two", "ES256") is None


def test_without_keys_every_request_reports_the_failure(later: Callable[[float], None]) -> None:
    http = FakeHttp({"keys": [jwk("one")]}, status=503)
    cached = keys(http)
    for _ in range(3):
        with pytest.raises(Unreachable):
            cached.get("one", "ES256")
    assert not cached.is_available
    assert len(http.urls) == 1
    http.status = 200
    later(RETRY_WITHOUT_VALUE)
    assert cached.get("one", "ES256") is not None
    assert cached.is_available


def test_an_empty_key_set_is_not_kept_during_an_outage(later: Callable[[float], None]) -> None:
    http = FakeHttp({"keys": []})
    cached = keys(http)
    assert cached.get("one", "ES256") is None
    assert not cached.is_available
    http.is_down = True
    later(300)
    with pytest.raises(Unreachable):
        cached.get("one", "ES256")


def test_the_users_limit_replaces_the_common_one(later: Callable[[float], None]) -> None:
    http = FakeHttp({"keys": [jwk("one")]})
    cached = keys(http, max_lifetime=20.0)
    cached.get("one", "ES256")
    later(19)
    cached.get("one", "ES256")
    assert len(http.urls) == 1
    later(1)
    cached.get("one", "ES256")
    assert len(http.urls) == 2


@pytest.mark.parametrize(
    "changes",
    [{"alg": "RS256"}, {"alg": ["ES256"]}, {"alg": None}, {"use": "enc"}, {"x": 5}, {"kid": 7}, {"crv": []}],
    ids=str,
)
def test_an_unusable_key_does_not_affect_the_others(changes: dict[str, Any]) -> None:
    """RFC 7517 section 5."""
    cached = keys(FakeHttp({"keys": [5, {}, jwk("one") | changes, jwk("two")]}))
    assert cached.get("two", "ES256") is not None
    assert cached.get("one", "ES256") is None


def without(jwk: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in jwk.items() if name not in names}


def rsa_jwk(kid: str, bits: int = 2048) -> dict[str, Any]:
    public = rsa.generate_private_key(65537, bits).public_key()
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public)), "kid": kid}


def test_a_key_without_an_algorithm_serves_those_of_its_type() -> None:
    """RFC 7517 section 4.4: `alg` is optional. The accepted algorithms still come from this service."""
    http = FakeHttp({"keys": [without(jwk("ec"), "alg"), without(rsa_jwk("rsa"), "key_ops")]})
    cached = CachedKeys(http, lambda: JWKS, ["ES256", "RS256", "PS256"])  # type: ignore[arg-type]
    found = {
        (kid, algorithm)
        for kid in ("ec", "rsa")
        for algorithm in ("ES256", "RS256", "PS256", "EdDSA")
        if cached.get(kid, algorithm) is not None
    }
    assert found == {("ec", "ES256"), ("rsa", "RS256"), ("rsa", "PS256")}
    assert keys(http).get("rsa", "RS256") is None
    assert cached.get("rsa", "PS256") is cached.get("rsa", "PS256"), "the caches of tokens compare keys"


def test_a_key_without_an_id_serves_if_no_other_fits() -> None:
    """RFC 7517 section 4.5: `kid` is optional."""
    plain = without(jwk("one"), "kid")
    assert keys(FakeHttp({"keys": [plain]})).get("other", "ES256") is not None
    both = keys(FakeHttp({"keys": [plain, jwk("two")]}))
    two, other = both.get("two", "ES256"), both.get("other", "ES256")
    assert two is not None
    assert two.key_id == "two"
    assert other is not None
    assert other.key_id is None
    assert keys(FakeHttp({"keys": [plain, without(jwk("two"), "kid")]})).get("other", "ES256") is None


def test_without_a_key_id_only_a_single_key_serves() -> None:
    """RFC 7515 section 4.1.4: `kid` is a hint. Two keys of the same ID are ambiguous too."""
    assert keys(FakeHttp({"keys": [jwk("one")]})).get(None, "ES256") is not None
    for published in ([jwk("one"), jwk("two")], [jwk("one"), without(jwk("two"), "alg")], []):
        assert keys(FakeHttp({"keys": published})).get(None, "ES256") is None
    assert keys(FakeHttp({"keys": [jwk("one"), jwk("one")]})).get("one", "ES256") is None


@pytest.mark.parametrize("document", [[], {}, {"keys": 5}, {"keys": None}])
def test_a_response_without_a_key_set_counts_as_unreachable(document: Any) -> None:
    with pytest.raises(Unreachable):
        keys(FakeHttp(document)).get("one", "ES256")


def test_a_turned_clock_makes_the_cache_stale() -> None:
    """An offset of the lab's clock, in either direction, ages what is cached."""
    http = good_metadata()
    cached = metadata(http)
    cached.get()
    clock.set_offset(-301)
    cached.get()
    assert len(http.urls) == 2


ONE, TWO = jwk("one"), jwk("two")
RSA = rsa_jwk("rsa")


@pytest.mark.parametrize(
    ("published", "kid", "found"),
    [
        ([without(ONE, "alg")], "one", True),
        ([without(ONE, "alg", "kid")], "one", True),
        ([without(ONE, "kid"), TWO], "one", True),
        ([ONE], None, True),
        ([ONE, RSA], None, True),
        ([ONE, TWO], None, False),
        ([without(ONE, "kid"), without(TWO, "kid")], "one", False),
        ([ONE, {**TWO, "kid": "one"}], "one", False),
        ([ONE, {**RSA, "kid": "one"}], "one", True),
        ([{**ONE, "key_ops": ["verify"]}], "one", True),
        ([{**ONE, "key_ops": ["sign"]}], "one", False),
        ([ONE], "two", False),
    ],
)
def test_a_key_is_used_if_it_is_the_only_one_that_fits(published: list[Any], kid: str | None, *, found: bool) -> None:
    """RFC 7517 sections 4.2 to 4.5, OpenID Connect Core section 10.1."""
    assert (keys(FakeHttp({"keys": published})).get(kid, "ES256") is not None) == found


def test_a_short_rsa_key_is_not_used() -> None:
    """RFC 7518 section 3.3."""
    short = rsa_jwk("short", 1024)
    cached = CachedKeys(FakeHttp({"keys": [short, RSA]}), lambda: JWKS, ["RS256", "PS256"])  # type: ignore[arg-type]
    assert cached.get("short", "RS256") is None
    assert cached.get("rsa", "RS256") is not cached.get("rsa", "PS256")


def test_metadata_are_at_either_address() -> None:
    """RFC 8414 section 3.1; OpenID Connect Discovery section 4 puts the path first."""

    class OpenIdOnly(FakeHttp):
        def send(self, method: str, url: str) -> HttpResponse:
            self.status = 200 if url.endswith("/.well-known/openid-configuration") else 404
            return super().send(method, url)

    http = OpenIdOnly({"issuer": f"{ISSUER}/one/", "jwks_uri": JWKS})
    cached = CachedMetadata(
        http,  # type: ignore[arg-type]
        f"{ISSUER}/one/",
        lambda document: endpoint(document, "jwks_uri", insecure=True),
        is_issuer=CHECK,
        backchannel_url="http://auth:8001/one",
    )
    assert cached.get() == JWKS
    assert http.urls == [
        "http://auth:8001/.well-known/oauth-authorization-server/one",
        "http://auth:8001/one/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "http://auth.test/x",
        "javascript:alert(1)",
        "//auth.test",
        "https://",
        5,
        [],
        "https://a/ b",
        "https://[",
        "https://a/é",
    ],
)
def test_an_endpoint_must_be_an_https_url(value: Any) -> None:
    """OpenID Connect Discovery section 3, RFC 6750 section 5.3."""
    for read in (endpoint, optional_endpoint):
        with pytest.raises(ValueError, match="x_endpoint"):
            read({"x_endpoint": value}, "x_endpoint", insecure=False)
    assert optional_endpoint({"x_endpoint": None}, "x_endpoint", insecure=False) is None
    assert endpoint({"x_endpoint": "https://auth.test/x"}, "x_endpoint", insecure=False) == "https://auth.test/x"

"""One message in full: the verification of signatures, the places of values, and the PKCE comparison."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm

from rolecall.http import HttpResponse, Unreachable
from rolecall_lab.observer.drawing import facts
from rolecall_lab.observer.inspector import Inspection, inspect
from rolecall_lab.observer.picture import lay_out
from rolecall_lab.observer.texts import duration, fact_text
from rolecall_lab.observer.tokens import KeySet, pkce, segments
from support.recorded_events import BEGAN, check, event, mark, plain, plain_flow


class Keys:
    """The authorization server's `/jwks`, without a network."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.asked = 0
        self.away = False

    def send(self, _method: str, url: str) -> HttpResponse:
        if self.away:
            raise Unreachable(url, "it is away")
        self.asked += 1
        key = json.loads(ECAlgorithm.to_jwk(self.private.public_key())) | {"kid": "k1", "alg": "ES256", "use": "sig"}
        return HttpResponse(200, {}, json.dumps({"keys": [key]}).encode(), 1.0)


def test_a_token_is_judged_by_the_published_keys() -> None:
    """RFC 7515 section 5.2; the keys are cached for a short time."""
    keys = Keys()
    known = KeySet("http://auth", keys)  # type: ignore[arg-type]
    good = jwt.encode({"exp": BEGAN}, keys.private, "ES256", headers={"kid": "k1"})
    assert known.verdict(good) == (True, "made with ES256 and the published key k1")
    assert known.verdict(good[:-4] + "AAAA")[0] is False
    assert keys.asked == 1
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert known.verdict(jwt.encode({}, stranger, "ES256", headers={"kid": "k1"}))[0] is False
    assert known.verdict(jwt.encode({}, stranger, "ES256", headers={"kid": "other"})) == (
        None,
        "not signed by this server, which does not publish a key other",
    )
    assert known.verdict(jwt.encode({}, None, "none"))[0] is False
    rsa_key = rsa.generate_private_key(65537, 2048)
    under_another = jwt.encode({}, rsa_key, "RS256", headers={"kid": "k1"})
    assert known.verdict(under_another) == (False, "the published key k1 is for ES256")
    assert known.verdict("no jwt") == (False, "this is not a JWT")
    assert keys.asked == 2, "unknown keys are only fetched from time to time, not for each token"
    keys.away = True
    assert KeySet("http://auth", keys).verdict(good)[0] is None  # type: ignore[arg-type]


def test_pkce_is_worked_out() -> None:
    """RFC 7636 appendix B."""
    steps = dict(pkce("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"))
    assert steps["base64url without padding"] == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert steps["comparison"].startswith("equal")
    assert pkce("x", "y")[-1][1].startswith("different")


def test_a_token_that_a_replay_ended_says_so() -> None:
    """RFC 6749 section 4.1.2; the message that issued the token names the later one that ended it."""
    token = mark("a-token-0123456789", exp=BEGAN + 300)
    form = {"grant_type": "authorization_code", "code": mark("a-code-0123456789")}
    issued = event(0, "client", "authorization_server", "POST /token", form=form, body={"access_token": token})
    replayed = event(10, "client", "authorization_server", "POST /token", 400, form=form)
    replayed["checks"] = [check("token.code_once", False)]
    used = event(20, "client", "resource_server", "GET /invoices", 401)
    used["request_headers"] = {"authorization": {"scheme": "Bearer", "token": token}}
    picture = lay_out([issued, replayed, used])
    found = [inspect(picture, number, KeySet("http://auth", Keys())) for number in (1, 3)]  # type: ignore[arg-type]
    [[first], [last]] = [inspection.tokens for inspection in found if inspection is not None]
    assert (first.ended, first.was_valid) == ("Revoked later, in message 2, because the code was used again", True)
    assert (last.ended, last.was_valid) == ("Revoked in message 2, because the code was used again", False)


def test_a_token_that_the_api_found_revoked_was_not_valid_in_this_message() -> None:
    """The introspection that shows it has a higher number, because it is sent while the API handles the message."""
    token = mark("a-token-0123456789", exp=BEGAN + 300)
    used = event(0, "client", "resource_server", "GET /invoices", 401, trace="a", milliseconds=9)
    used["request_headers"] = {"authorization": {"scheme": "Bearer", "token": token}}
    asked = event(1, "resource_server", "authorization_server", "POST /introspect", trace="a", form={"token": token})
    asked |= {"body": {"active": False}, "checks": [check("introspect.revoked", False)]}
    inspection = inspect(lay_out([used, asked]), 1, KeySet("http://auth", Keys()))  # type: ignore[arg-type]
    assert inspection is not None
    [found] = inspection.tokens
    assert (found.ended, found.was_valid) == ("Revoked, according to the authorization server in message 2", False)


def test_times_and_durations_are_readable() -> None:
    assert fact_text("after 1796139477") == "after 2026-12-01 15:37:57 UTC"
    assert fact_text(1796139477) == "2026-12-01 15:37:57 UTC"
    assert fact_text("a17961394775") == "a17961394775"
    assert [duration(seconds) for seconds in (0, 59.6, 293, 90000)] == ["0 s", "1 min 0 s", "4 min 53 s", "1 d 1 h"]


def test_the_difference_between_two_long_values_is_shown() -> None:
    """Otherwise, both values would look the same."""
    long = "http://localhost:8000/callback"
    assert facts({"expected": long, "actual": f"{long}?and=more"}) == (
        "expected …:8000/callback · actual …:8000/callback?and=more"
    )
    assert facts({"expected": "a", "actual": None}) == "expected a"


@pytest.mark.parametrize("token", ["a.b.c", "..", "eyJ.", "\ud800.x.y", "x" * 9000, ""])
def test_the_parts_of_what_is_no_jwt(token: str) -> None:
    assert len(segments(token)) <= 3


def shown(events: list[dict[str, Any]], number: int, keys: Keys | None = None) -> Inspection:
    """Return the inspection of a message of these events."""
    found = inspect(lay_out(events), number, KeySet("http://auth", keys or Keys()))  # type: ignore[arg-type]
    assert found is not None
    return found


def jwk(private: ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    return json.loads(ECAlgorithm.to_jwk(private.public_key())) | {"kid": kid, "alg": "ES256"}


def signed(private: Any, algorithm: str = "ES256", **header: str) -> dict[str, Any]:
    """Return a JWT as the recorder marks it."""
    text = jwt.encode({"sub": "me"}, private, algorithm, headers=header)
    return mark(text, sub="me") | {"unverified_header": {"alg": algorithm, **header}}


@pytest.mark.parametrize("name", ["client_assertion", "request", "assertion"])
def test_what_a_client_signed_is_judged_by_the_clients_keys(name: str) -> None:
    """RFC 7523 section 3, RFC 9101 section 6.2: the server's keys do not count, even with the same `kid`."""
    mine, another = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    registered = event(
        1, "client", "authorization_server", "POST /register", 201, body={"jwks": {"keys": [jwk(mine, "k1")]}}
    )

    def verdict(token: dict[str, Any], *before: dict[str, Any]) -> bool | None:
        asked = event(9, "client", "authorization_server", "POST /token", form={name: token})
        [found] = shown([*before, asked], len(before) + 1).tokens
        return found.signed

    assert verdict(signed(mine, kid="k1"), registered) is True
    assert verdict(signed(mine), registered) is True, "a key does not need a kid"
    assert verdict(signed(another, kid="k1"), registered) is False
    assert verdict(signed(another, kid="k2"), registered) is None
    assert verdict(signed(mine, kid="k1")) is None, "the key was registered in another flow"
    assert verdict(signed("a secret of client and server, of 32 bytes", "HS256"), registered) is None
    assert verdict(signed(None, "none"), registered) is False


def test_the_keys_that_the_server_fetches_from_a_client_count_as_well() -> None:
    """RFC 7591 section 2, `jwks_uri`; of two keys with the same `kid`, the one that verifies the signature is found."""
    mine, older = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    sets = [{"keys": [jwk(each, "k1"), {"kid": ["strange"], "kty": 5}, "no key"]} for each in (older, mine)]
    fetched = [event(at, "authorization_server", "client", "GET /keys", body=each) for at, each in enumerate(sets)]
    asked = event(9, "client", "authorization_server", "POST /token", form={"client_assertion": signed(mine, kid="k1")})
    [found] = shown([*fetched, asked], 3).tokens
    assert (found.signed, found.verdict) == (True, "made with ES256 and the client's key k1 from this flow")


def test_pkce_is_worked_out_most_of_all_where_the_verifier_is_a_wrong_one() -> None:
    """RFC 7636 section 4.6: the verifier is compared with the challenge of the flow, which it does not match."""
    events = plain_flow()
    challenge = events[1]["query"]["code_challenge"]["value"]
    events[3]["handles"] = [each for each in events[3]["handles"] if each not in events[3]["chosen"]]
    events[3]["form"]["code_verifier"] = mark("a verifier of another request")
    steps = dict(shown(events, 4).pkce)
    assert challenge in steps.values()
    assert steps["comparison"].startswith("different")


def test_a_value_is_followed_inside_a_jwt() -> None:
    events = plain_flow()
    state = events[0]["response_headers"]["location"]["parameters"]["state"]
    events[3]["body"]["id_token"] = mark("an-id-token-0123", state=state, deep={"in": [{"state": state}]}, sub="me")
    by_kind = {value.kind: value for value in lay_out(events).values}
    lit = {line.name: line.value for line in shown(events, 4).tokens[-1].claims}
    assert lit["state"] == lit["deep.in[0].state"] == by_kind["state"]
    assert lit["sub"] is None


def test_raw_is_encoded_as_it_was_sent() -> None:
    """URL Standard section 5.2: the text for hidden values stays readable."""
    events = plain_flow()
    events[3]["form"] |= {"scope": "a b&c=d", "redirect_uri": "http://x/?y=ü", "password": {"hidden": True}}
    raw = shown(events, 4).raw
    assert "scope=a+b%26c%3Dd&redirect_uri=http%3A%2F%2Fx%2F%3Fy%3D%C3%BC&password=(hidden)" in raw
    events[1]["response_headers"]["location"]["parameters"]["state"] = plain("a b")
    assert "location: http://localhost:8000/callback?code=code-a-01234&state=a+b" in shown(events, 2).raw


def test_the_json_that_was_sent_is_explained_and_what_was_cut_is_said() -> None:
    """RFC 7591 section 3.1: a registration is sent as JSON."""
    body = {"redirect_uris": ["http://a/b"], "jwks": {"keys": [{"kid": "k1"}]}, "access_token": mark("access-a-0123")}
    registered = event(1000, "client", "authorization_server", "POST /register", 201)
    registered |= {"json": body, "cut": ["body", "form"]}
    found = shown([*plain_flow(), registered], 8)
    told = {line.name: line for line in found.lines if line.place == "body"}
    assert told["redirect_uris"].explanation is not None
    assert told["jwks.keys[0].kid"].text == "k1"
    assert '"redirect_uris": [' in found.raw
    assert found.cut == ["body", "form"]

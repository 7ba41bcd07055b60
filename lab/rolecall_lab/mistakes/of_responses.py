"""Alterations of metadata, and of authorization, token, and userinfo responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rolecall_lab.mistakes.alterations import DEEP, Alteration, Change, remove_members, replace_body, set_members
from rolecall_lab.mistakes.drafts import AuthorizationResponse

_INVALID_METADATA: Final = "invalid_response_of_server"
"""The refusal of metadata or a key set that the client cannot use."""

_UNAVAILABLE: Final = "unavailable"
_OTHER_ISSUER: Final = "other_issuer"


_ENDPOINTS: Final[dict[str, Any]] = {
    "missing": None, "number": 5, "list": [], "script": "javascript:alert(1)", "relative": "/token",
    "no_host": "https://", "surrogate": "https://\ud800.test",
}  # fmt: skip
"""Values of an endpoint that are not URLs with http or https."""


def _metadata() -> Iterator[Alteration]:
    discovery, rfc = "OpenID Connect Discovery section 3", "RFC 8414 section 2"

    def altered(name: str, title: str, clause: str, change: Change, refusal: str = "", **more: Any) -> Alteration:
        return Alteration(f"metadata_{name}", title, clause, {"metadata": change}, refusal, **more)

    def at(name: str, title: str, clause: str, place: str) -> Alteration:
        return Alteration(f"metadata_{name}", title, clause, {place: replace_body({}, 404)})

    yield at(
        "only_openid",
        "Metadata only at the address of OpenID Connect",
        "OpenID Connect Discovery section 4",
        "oauth_metadata",
    )
    yield at("only_oauth", "Metadata only at the address of RFC 8414", "RFC 8414 section 3", "openid_metadata")
    yield altered("no_revocation", "No revocation endpoint", rfc, remove_members("revocation_endpoint"))
    yield altered("no_userinfo", "No userinfo endpoint", discovery, remove_members("userinfo_endpoint"))
    yield altered("null_userinfo", "userinfo_endpoint is null", discovery, set_members(userinfo_endpoint=None))
    yield altered("other_issuer", "Metadata of another issuer", "RFC 8414 section 3.3",
                  set_members(issuer="http://evil.test"), _OTHER_ISSUER)  # fmt: skip
    yield altered("no_issuer", "No issuer", rfc, remove_members("issuer"), _OTHER_ISSUER)
    yield altered("issuer_number", "issuer is a number", rfc, set_members(issuer=5), _OTHER_ISSUER)
    for name, value in _ENDPOINTS.items():
        for endpoint in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            change = set_members(**{endpoint: value})
            yield altered(f"{endpoint}_{name}", f"{endpoint}: {name}", rfc, change, _INVALID_METADATA)
    insecure = set_members(token_endpoint="http://evil.test/token")
    yield altered(
        "http", "A token endpoint without TLS", "RFC 6749 section 3.2", insecure, _INVALID_METADATA, secure=True
    )
    for name, title, change, refusal in (
        ("not_found", "Status 404", replace_body({}, 404), _INVALID_METADATA),
        ("error", "Status 500", replace_body({}, 500), _UNAVAILABLE),
        ("not_json", "Not JSON", replace_body(b"<html>", content_type="text/html"), _INVALID_METADATA),
        ("list", "A list", replace_body([]), _INVALID_METADATA),
        ("deep", "JSON without end", replace_body(DEEP), _INVALID_METADATA),
    ):
        yield altered(name, f"Metadata: {title}", "RFC 8414 section 3.2", change, refusal)
        yield Alteration(f"key_set_{name}", f"Key set: {title}", "RFC 7517 section 5", {"keys": change}, refusal)
    yield Alteration("key_set_no_keys", "Key set: keys is missing", "RFC 7517 section 5",
                     {"keys": remove_members("keys")}, _INVALID_METADATA)  # fmt: skip


def _authorization() -> Iterator[Alteration]:
    iss, response = "RFC 9207 section 2.4", "RFC 6749 section 4.1.2"

    def altered(name: str, title: str, clause: str, refusal: str, *repeat: str, **parameters: Any) -> Alteration:
        def change(draft: AuthorizationResponse) -> None:
            draft.further += [(each, str(draft.parameters[each])) for each in repeat]
            draft.parameters |= parameters

        return Alteration(f"response_{name}", title, clause, {"authorization": change}, refusal)

    yield altered("other_issuer", "The response names another issuer (mix-up)", iss, "mixed_up", iss="http://evil.test")
    yield altered("no_issuer", "The response has no iss, which the metadata announce", iss, "missing_iss", iss=None)
    yield Alteration(
        "response_unannounced", "No iss, and the metadata does not announce it", iss,
        {
            "authorization": lambda draft: draft.parameters.pop("iss"),
            "metadata": remove_members("authorization_response_iss_parameter_supported"),
        },
    )  # fmt: skip
    yield Alteration(
        "response_unannounced_other", "Another iss, and the metadata does not announce it", iss,
        {
            "authorization": lambda draft: draft.parameters.update(iss="http://evil.test"),
            "metadata": remove_members("authorization_response_iss_parameter_supported"),
        },
        "mixed_up",
    )  # fmt: skip
    yield altered("no_state", "No state", "RFC 6749 section 10.12", "unknown_state", state=None)
    yield altered("other_state", "Another state", "RFC 6749 section 10.12", "unknown_state", state="another")
    yield altered("no_code", "Neither code nor error", response, "invalid_response", code=None)
    yield altered("empty_code", "An empty code", response, "invalid_response", code="")
    for name in ("state", "iss", "code"):
        yield altered(f"two_{name}", f"{name} is repeated", "RFC 6749 section 3.1", "repeated_parameter", name)
    for error in (
        "access_denied", "login_required", "consent_required", "interaction_required", "account_selection_required",
        "temporarily_unavailable", "invalid_request", "server_error",
    ):  # fmt: skip
        yield altered(error, f"The error {error}", "OpenID Connect Core section 3.1.2.6", error, code=None, error=error)
    yield altered(
        "strange_error", "An error with control characters", f"{response}.1", "a\nb<", code=None, error="a\nb<"
    )


def _token() -> Iterator[Alteration]:
    good, bad = "RFC 6749 section 5.1", "RFC 6749 section 5.2"

    def altered(name: str, title: str, clause: str, change: Change, refusal: str = "") -> Alteration:
        return Alteration(f"token_{name}", title, clause, {"token": change}, refusal)

    for error, status in (("invalid_grant", 400), ("invalid_client", 401), ("temporarily_unavailable", 503)):
        yield altered(error, f"Status {status} with {error}", bad, replace_body({"error": error}, status), error)
    yield altered("no_error", "Status 500 without a body", bad, replace_body(b"", 500), "no_error_code")
    yield altered(
        "error_number", "Status 400 with a number as error", bad, replace_body({"error": 5}, 400), "no_error_code"
    )
    invalid = "invalid_token_response"
    for name, title, body in (
        ("html", "An HTML page", b"<html>"), ("empty", "An empty body", b""), ("list", "A list", b"[]"),
        ("deep", "JSON without end", DEEP), ("not_utf8", "Not UTF-8", b'{"access_token":"\xff"}'),
    ):  # fmt: skip
        yield altered(name, f"Token response: {title}", good, replace_body(body), invalid)
    yield altered("error_with_200", "An error with status 200", good, replace_body({"error": "invalid_grant"}), invalid)
    yield altered("no_access_token", "No access token", good, remove_members("access_token"), invalid)
    for name, token in _ACCESS_TOKENS.items():
        change = set_members(access_token=token)
        yield altered(f"access_token_{name}", f"Access token: {name}", "RFC 6750 section 2.1", change, invalid)
    yield altered("no_type", "No token_type", good, remove_members("token_type"), invalid)
    for kind in ("mac", "DPoP", 5, ["Bearer"]):
        yield altered(f"type_{str(kind).strip('[]')}".replace("'", ""), f"token_type is {kind}", good,
                      set_members(token_type=kind), invalid)  # fmt: skip
    yield altered("type_lower", "token_type in lower case", "RFC 6749 section 7.1", set_members(token_type="bearer"))
    yield altered("no_lifetime", "No expires_in", good, remove_members("expires_in"))
    for name, value in {"text": "300", "negative": -5, "huge": 10**400, "true": True}.items():
        yield altered(f"lifetime_{name}", f"expires_in: {name}", good, set_members(expires_in=value))
    yield altered("scope_number", "scope is a number", "RFC 6749 section 3.3", set_members(scope=5))
    yield altered("no_scope", "No scope", good, remove_members("scope"))
    yield altered("refresh_number", "The refresh token is a number", good, set_members(refresh_token=5))
    yield altered("further", "Further members", good, set_members(further={"a": [1]}))


_ACCESS_TOKENS: Final[dict[str, Any]] = {
    "number": 5, "empty": "", "line_feed": "a\nb", "not_latin": "\u65e5\u672c", "latin": "\xe9", "space": "a b",
    "surrogate": "\ud800",
}  # fmt: skip
"""Access tokens that no Authorization header can contain."""


def _userinfo() -> Iterator[Alteration]:
    section = "OpenID Connect Core section 5.3.2"

    def altered(name: str, title: str, change: Change, refusal: str = "") -> Alteration:
        return Alteration(f"userinfo_{name}", title, section, {"userinfo": change}, refusal)

    yield altered("other_subject", "Userinfo about another user", set_members(sub="usr_bob"), "another_subject")
    invalid = "invalid_userinfo"
    yield altered("no_subject", "Userinfo without sub", remove_members("sub"), invalid)
    yield altered("subject_number", "sub is a number", set_members(sub=5), invalid)
    for name, title, body in _USERINFO:
        yield altered(name, f"Userinfo: {title}", replace_body(body), invalid)
    yield altered("unauthorized", "Status 401", replace_body({"error": "invalid_token"}, 401), "invalid_token")
    yield altered("error", "Status 500", replace_body(b"", 500), "no_error_code")
    yield altered(
        "strange_claims", "Claims of unusual types", set_members(name=["x"], updated_at=1e300, email=True, n=None)
    )
    yield altered("only_subject", "Nothing but sub", lambda draft: setattr(draft, "body", {"sub": draft.body["sub"]}))


_USERINFO: Final = (
    ("list", "a list", b"[]"),
    ("text", "text", b"Alice"),
    ("jwt", "a JWT", b"eyJhbGciOiJub25lIn0.e30."),
    ("deep", "JSON without end", DEEP),
    ("deep_member", "a member without end", b'{"sub":"usr_mistaken-alice","a":' + b"[" * 100_000),
    ("surrogate", "a lone surrogate", b'{"sub":"usr_mistaken-alice","name":"\\ud800"}'),
    ("not_utf8", "not UTF-8", b'{"sub":"usr_mistaken-alice","name":"\xff"}'),
)


ALTERATIONS: Final = (*_metadata(), *_authorization(), *_token(), *_userinfo())

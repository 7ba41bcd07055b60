"""Values from the specifications that more than one service uses."""

from __future__ import annotations

from typing import Final

ACCESS_TOKEN_TYPE: Final = "at+jwt"
"""The JOSE `typ` of a JWT access token (RFC 9068 section 2.1)."""

ACCESS_TOKEN_TYPES: Final = (ACCESS_TOKEN_TYPE, "JWT")
"""The types that a resource can choose for its access tokens; `JWT` is outside RFC 9068."""

SUBJECT_KIND: Final = "sub_kind"
"""The claim, and member of an introspection response, whose value `CLIENT` means that the `sub` is not a person."""

CLIENT: Final = "client"

SIGNING_ALGORITHMS: Final = ("ES256", "RS256", "PS256", "EdDSA")
"""The algorithms that a resource can choose for its access tokens; the first is the default. RFC 9068 section 2.1
requires RS256."""

ID_TOKEN_ALGORITHMS: Final = ("RS256", "ES256", "PS256", "EdDSA")
"""The algorithms that a client may register for ID tokens and userinfo; the first is the default (OpenID Connect
Registration section 2)."""

CODE_CHALLENGE_METHOD: Final = "S256"
"""The only supported code challenge method (RFC 9700 section 2.1.1)."""

PROFILES: Final = ("oauth2.1", "openid", "fapi2")
"""How strictly the authorization server treats a client; `fapi2` has the same rules as `oauth2.1` so far."""

CLIENT_AUTH_METHODS: Final = (
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "client_secret_jwt",
    "none",
)
"""The registered methods of client authentication at the token endpoint (RFC 7591 section 2, OpenID Connect Core 9)."""

ASSERTION_ALGORITHMS: Final = {"private_key_jwt": ID_TOKEN_ALGORITHMS, "client_secret_jwt": ("HS256",)}
"""The algorithms for client assertions, by authentication method. The generated client secrets are long enough for
HS256, but not for HS384 or HS512 (RFC 7518 section 3.2)."""

CLIENT_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The only supported type of client assertion (RFC 7523 section 2.2)."""

OPENID_SCOPES: Final = ("openid", "profile", "email", "address", "phone", "offline_access")
"""Scopes of OpenID Connect Core sections 5.4 and 11; they have their meaning only together with `openid`."""

OPENID_CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
"""The path of the OpenID configuration (OpenID Connect Discovery section 4)."""

METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
"""The path of authorization server metadata (RFC 8414 section 3)."""

RESOURCE_METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
"""The path of protected resource metadata (RFC 9728 section 3)."""

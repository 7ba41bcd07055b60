"""Words of the specifications that more than one service uses."""

from __future__ import annotations

from typing import Final

ACCESS_TOKEN_TYPE: Final = "at+jwt"
"""The JOSE `typ` of a JWT access token (RFC 9068 section 2.1)."""

SIGNING_ALGORITHMS: Final = ("ES256", "RS256")
"""What access tokens may be signed with; both from the first start (RFC 9068 section 2.1)."""

ID_TOKEN_ALGORITHMS: Final = ("RS256", "ES256", "PS256", "EdDSA")
"""What ID tokens and userinfo may be signed with, as the client registers it; the first when it says nothing
(OpenID Connect Registration section 2)."""

CODE_CHALLENGE_METHOD: Final = "S256"
"""The only one (RFC 9700 section 2.1.1)."""

PROFILES: Final = ("oauth2.1", "openid", "fapi2")
"""How strict the authorization server is with a client; the last has no rules beyond the first yet."""

CLIENT_AUTH_METHODS: Final = (
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "client_secret_jwt",
    "none",
)
"""The registered names of client authentication at the token endpoint (RFC 7591 section 2, OpenID Connect Core 9)."""

ASSERTION_ALGORITHMS: Final = {"private_key_jwt": ID_TOKEN_ALGORITHMS, "client_secret_jwt": ("HS256",)}
"""What a client may sign its assertion with, by method. A secret of ours is long enough for HS256 and for no more
(RFC 7518 section 3.2)."""

CLIENT_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The only one (RFC 7523 section 2.2)."""

OPENID_SCOPES: Final = ("openid", "profile", "email", "address", "phone", "offline_access")
"""Scopes of OpenID Connect Core sections 5.4 and 11; they count as such only beside `openid`."""

OPENID_CONFIGURATION_PATH: Final = "/.well-known/openid-configuration"
"""OpenID Connect Discovery section 4."""

METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
"""RFC 8414 section 3."""

RESOURCE_METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
"""RFC 9728 section 3."""

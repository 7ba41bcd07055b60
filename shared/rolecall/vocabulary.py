"""Words of the specifications that more than one service uses."""

from __future__ import annotations

from typing import Final

ACCESS_TOKEN_TYPE: Final = "at+jwt"
"""The JOSE `typ` of a JWT access token (RFC 9068 section 2.1)."""

SIGNING_ALGORITHMS: Final = ("ES256", "RS256")
"""What access tokens may be signed with; both from the first start (RFC 9068 section 2.1)."""

CODE_CHALLENGE_METHOD: Final = "S256"
"""The only one (RFC 9700 section 2.1.1)."""

PROFILES: Final = ("oauth2.1", "openid", "fapi2")
"""How strict the authorization server is with a client."""

CLIENT_AUTH_METHODS: Final = ("client_secret_basic", "client_secret_post", "none")
"""The registered names of client authentication at the token endpoint (RFC 7591 section 2)."""

METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
"""RFC 8414 section 3."""

RESOURCE_METADATA_PATH: Final = "/.well-known/oauth-protected-resource"
"""RFC 9728 section 3."""

"""OpenID Connect: authentication requests, request objects, ID tokens, scopes, and claims."""

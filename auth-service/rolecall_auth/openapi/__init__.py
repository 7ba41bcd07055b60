"""The OpenAPI description of the authorization server."""

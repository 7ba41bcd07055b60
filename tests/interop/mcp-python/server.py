"""An MCP server that asks the authorization server about each token (RFC 7662)."""

import httpx2
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer

RESOURCE = "http://localhost:8460/mcp"


class Introspection(TokenVerifier):
    async def verify_token(self, token: str) -> AccessToken | None:
        async with httpx2.AsyncClient() as http:
            response = await http.post(
                "http://localhost:8001/introspect", data={"token": token}, auth=("notes", "RESOURCE_SECRET")
            )
        response.raise_for_status()
        found = response.json()
        if not found["active"]:
            return None
        audience = [found["aud"]] if isinstance(found["aud"], str) else found["aud"]
        return AccessToken(
            token=token,
            client_id=found["client_id"],
            scopes=found["scope"].split(),
            expires_at=found["exp"],
            resource=RESOURCE if RESOURCE in audience else None,
            subject=found["sub"],
            claims=found,
        )


server = MCPServer(
    "Notes",
    token_verifier=Introspection(),
    auth=AuthSettings(
        issuer_url="http://localhost:8001",
        resource_server_url=RESOURCE,
        required_scopes=["notes:read"],
        validate_token_resource=True,
    ),
)


@server.tool()
def notes() -> str:
    """Return your notes."""
    token = get_access_token()
    return f"Notes of {token.subject}"


if __name__ == "__main__":
    server.run(transport="streamable-http", port=8460)

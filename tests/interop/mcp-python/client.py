"""An MCP client that calls a tool twice, the second time with an expired access token.

It prints a line of JSON with the URL for the browser, reads a line with the URL of the redirect, and prints a line
with the results of the calls.
"""

import asyncio
import json
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

SERVER = "http://localhost:8460/mcp"
requests, received = [], []


class Storage:
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        received.append(tokens.model_dump(mode="json"))

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def open_browser(url):
    requests.append(f"GET {url}")
    print(json.dumps({"open": url}), flush=True)


async def wait_for_redirect():
    url = json.loads(await asyncio.to_thread(input))["url"]
    return AuthorizationCodeResult(**dict(parse_qsl(urlsplit(url).query)))


async def log(response):
    requests.append(f"{response.request.method} {response.request.url.path} {response.status_code}")


async def main():
    oauth = OAuthClientProvider(
        server_url=SERVER,
        client_metadata=OAuthClientMetadata(client_name="Notes app", redirect_uris=["http://localhost:3030/callback"]),
        storage=Storage(),
        redirect_handler=open_browser,
        callback_handler=wait_for_redirect,
    )
    async with (
        httpx2.AsyncClient(auth=oauth, event_hooks={"response": [log]}) as http,
        Client(streamable_http_client(SERVER, http_client=http)) as client,
    ):
        before = await client.call_tool("notes", {})
        oauth.context.token_expiry_time = 1
        after = await client.call_tool("notes", {})
    texts = [result.content[0].text for result in (before, after)]
    print(json.dumps({"requests": requests, "tokens": received, "texts": texts}), flush=True)


asyncio.run(main())

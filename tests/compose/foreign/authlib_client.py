"""Authlib's client, which gets the address of the authorization server, the issuer, and the address of the API.

Prints a line `{open}` for the browser, reads a line `{url}`, and prints a line with the result.
"""

import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
address, issuer, api = sys.argv[1:]

session = OAuth2Session(
    "strict-books",
    "lab-only-strict-books-2f7c9d1e5a8b4c60",
    token_endpoint_auth_method="client_secret_post",
    revocation_endpoint_auth_method="client_secret_post",
    redirect_uri="http://localhost:9000/callback",
    scope="invoices:read",
    code_challenge_method="S256",
)
metadata = session.get(f"{address}/.well-known/oauth-authorization-server", withhold_token=True).json()
assert metadata["issuer"] == issuer, metadata["issuer"]
verifier = generate_token(64)
url, state = session.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
print(json.dumps({"open": url}), flush=True)

callback = json.loads(sys.stdin.readline())["url"]
assert parse_qs(urlsplit(callback).query)["iss"] == [issuer], callback
session.fetch_token(metadata["token_endpoint"], authorization_response=callback, state=state, code_verifier=verifier)
session.refresh_token(metadata["token_endpoint"])
answer = session.get(f"{api}/invoices", headers={"Accept": "application/json"})
said = {"status": answer.status_code, "invoices": len(answer.json()["invoices"])}
session.revoke_token(metadata["revocation_endpoint"], session.token["refresh_token"], "refresh_token")
asked = {"Accept": "application/json", "Rolecall-Validator": "introspection"}
print(
    json.dumps(
        {
            **said,
            "issuer": metadata["issuer"],
            "endpoint": metadata["token_endpoint"],
            "after_revocation": session.get(f"{api}/invoices", headers=asked).status_code,
        }
    )
)

"""An API that validates access tokens with joserfc."""

import requests
from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ISSUER = "http://localhost:8001"
AUDIENCE = "http://localhost:8476"

app = Flask(__name__)
key_set = KeySet.import_key_set(requests.get(f"{ISSUER}/jwks", timeout=10).json())
claims_requests = jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
)


def access_token_claims(value):
    token = jwt.decode(value, key_set, algorithms=["ES256"])
    if token.header.get("typ") != "at+jwt":
        raise ValueError("not an access token")
    claims_requests.validate(token.claims)
    return token.claims


@app.get("/reports")
def reports():
    if request.authorization is None or request.authorization.type != "bearer":
        return "", 401, {"WWW-Authenticate": "Bearer"}
    try:
        claims = access_token_claims(request.authorization.token)
    except (JoseError, ValueError):
        return "", 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    if "reports:read" not in claims.get("scope", "").split():
        return "", 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    return jsonify(sub=claims["sub"])

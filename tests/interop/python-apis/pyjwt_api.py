"""An API that validates access tokens with PyJWT."""

import jwt
from flask import Flask, jsonify, request

ISSUER = "http://localhost:8001"
AUDIENCE = "http://localhost:8475"

app = Flask(__name__)
jwks_client = jwt.PyJWKClient(f"{ISSUER}/jwks")


def access_token_claims(token):
    signing_key = jwks_client.get_signing_key_from_jwt(token)
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    return jwt.decode(token, signing_key, audience=AUDIENCE, issuer=ISSUER, algorithms=["RS256"])


@app.get("/expenses")
def expenses():
    if request.authorization is None or request.authorization.type != "bearer":
        return "", 401, {"WWW-Authenticate": "Bearer"}
    try:
        claims = access_token_claims(request.authorization.token)
    except jwt.PyJWTError:
        return "", 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    if "expenses:read" not in claims.get("scope", "").split():
        return "", 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    return jsonify(sub=claims["sub"])

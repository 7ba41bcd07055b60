#!/bin/sh
# The authorization code flow with PKCE, a call to the API, refresh, and revocation.
set -eu
ISSUER=http://localhost:8001
API=http://localhost:8002
CALLBACK=http://localhost:9999/callback

member() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
parameter() { sed -n "s/.*[?&]$1=\([^&]*\).*/\1/p"; }
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# registration
metadata='{
  "client_name": "curl",
  "redirect_uris": ["http://localhost:9999/callback"],
  "grant_types": ["authorization_code", "refresh_token"],
  "scope": "invoices:read"
}'
client=$(curl -sS "$ISSUER/register" -H "Content-Type: application/json" -d "$metadata")
id=$(echo "$client" | member client_id)
secret=$(echo "$client" | member client_secret)

# authorization request
state=$(openssl rand 16 | base64url)
verifier=$(openssl rand 32 | base64url)
challenge=$(printf %s "$verifier" | openssl dgst -sha256 -binary | base64url)
query="response_type=code&client_id=$id&redirect_uri=$CALLBACK&scope=invoices:read&state=$state"
echo "Open this URL, sign in, and paste the address of the page that cannot be opened:"
echo "$ISSUER/authorize?$query&code_challenge=$challenge&code_challenge_method=S256"
read -r redirect
[ "$(echo "$redirect" | parameter state)" = "$state" ]
code=$(echo "$redirect" | parameter code)

# token request
tokens=$(curl -sS -u "$id:$secret" "$ISSUER/token" -d grant_type=authorization_code -d "code=$code" \
  -d "redirect_uri=$CALLBACK" -d "code_verifier=$verifier")
access=$(echo "$tokens" | member access_token)
refresh=$(echo "$tokens" | member refresh_token)

# API
curl -sS -H "Authorization: Bearer $access" "$API/invoices"

# refresh
tokens=$(curl -sS -u "$id:$secret" "$ISSUER/token" -d grant_type=refresh_token -d "refresh_token=$refresh")
access=$(echo "$tokens" | member access_token)
refresh=$(echo "$tokens" | member refresh_token)
curl -sS -H "Authorization: Bearer $access" "$API/invoices"

# revocation
curl -sS -u "$id:$secret" "$ISSUER/revoke" -d "token=$refresh"
curl -sS -u "$id:$secret" "$ISSUER/token" -d grant_type=refresh_token -d "refresh_token=$refresh"

"""PKCE, names, groups, and sessions that check for changes; the secret is in the header."""

from settings import *

OIDC_USE_PKCE = True
OIDC_TOKEN_USE_BASIC_AUTH = True

OIDC_RP_SCOPES = "openid email profile groups"
AUTHENTICATION_BACKENDS = ["accounts.RolecallBackend"]

MIDDLEWARE += ["mozilla_django_oidc.middleware.SessionRefresh"]
OIDC_RENEW_ID_TOKEN_EXPIRY_SECONDS = 900

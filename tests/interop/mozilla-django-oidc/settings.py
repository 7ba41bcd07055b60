"""The quick start of mozilla-django-oidc."""

from project import *

INSTALLED_APPS += ["mozilla_django_oidc"]
AUTHENTICATION_BACKENDS = ["mozilla_django_oidc.auth.OIDCAuthenticationBackend"]

OIDC_RP_CLIENT_ID = "CLIENT_ID"
OIDC_RP_CLIENT_SECRET = "CLIENT_SECRET"
OIDC_RP_SIGN_ALGO = "RS256"
OIDC_OP_AUTHORIZATION_ENDPOINT = "http://localhost:8001/authorize"
OIDC_OP_TOKEN_ENDPOINT = "http://localhost:8001/token"
OIDC_OP_USER_ENDPOINT = "http://localhost:8001/userinfo"
OIDC_OP_JWKS_ENDPOINT = "http://localhost:8001/jwks"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

"""The quick start of django-allauth, with one provider."""

from project import *

INSTALLED_APPS += [
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
]
MIDDLEWARE += ["allauth.account.middleware.AccountMiddleware"]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_REDIRECT_URL = "/"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "SCOPE": ["openid", "profile", "email", "groups"],
        "APPS": [
            {
                "provider_id": "rolecall",
                "name": "Rolecall",
                "client_id": "CLIENT_ID",
                "secret": "CLIENT_SECRET",
                "settings": {"server_url": "http://localhost:8001"},
            }
        ],
    }
}
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

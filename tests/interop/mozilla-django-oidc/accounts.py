"""Users with the names and groups of their claims."""

from django.contrib.auth.models import Group
from mozilla_django_oidc.auth import OIDCAuthenticationBackend


class RolecallBackend(OIDCAuthenticationBackend):
    def verify_claims(self, claims):
        return super().verify_claims(claims) and claims.get("email_verified") is True

    def create_user(self, claims):
        return self.update_user(super().create_user(claims), claims)

    def update_user(self, user, claims):
        user.first_name = claims.get("given_name", "")
        user.last_name = claims.get("family_name", "")
        user.save()
        user.groups.set([Group.objects.get_or_create(name=name)[0] for name in claims.get("groups", [])])
        return user

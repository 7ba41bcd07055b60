"""The home page, and the pages of mozilla-django-oidc."""

from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("oidc/", include("mozilla_django_oidc.urls")),
    path("", TemplateView.as_view(template_name="home.html")),
]

"""The home page, and the pages of django-allauth."""

from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("accounts/", include("allauth.urls")),
    path("", TemplateView.as_view(template_name="home.html")),
]

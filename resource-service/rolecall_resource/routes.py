"""The URLs of the resource server."""

from __future__ import annotations

from typing import Final

from rolecall import openapi
from rolecall.vocabulary import RESOURCE_METADATA_PATH
from rolecall.web.routes import Route
from rolecall_resource.invoices import invoice, invoices, pay, profile
from rolecall_resource.metadata import metadata
from rolecall_resource.pages import home

_GET: Final = ("GET",)

ROUTES: Final = (
    Route("home", "/", _GET, home, "page", "none: a description of this API for people"),
    Route("invoices", "/invoices", _GET, invoices, "api", "RFC 6750 section 2.1", cors="any"),
    Route("invoice", "/invoices/<invoice_id>", _GET, invoice, "api", "RFC 6750 section 2.1", cors="any"),
    Route("payment", "/invoices/<invoice_id>/payment", ("POST",), pay, "api", "RFC 6750 section 2.1", cors="any"),
    Route("profile", "/profile", _GET, profile, "api", "RFC 6750 section 2.1", cors="any"),
    Route("metadata", RESOURCE_METADATA_PATH, _GET, metadata, "api", "RFC 9728 section 3", cors="any"),
    Route(
        "metadata-of-path",
        RESOURCE_METADATA_PATH + "/<path:path>",
        _GET,
        metadata,
        "api",
        "RFC 9728 section 3.1",
        cors="any",
    ),
    openapi.ROUTE,
)

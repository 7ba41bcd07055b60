"""The endpoints of the Invoices API: the owner's invoices, payment, and the owner's profile."""

from __future__ import annotations

import re
from typing import Final, cast

import sqlalchemy as sa
from flask import current_app, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit, clock, events
from rolecall.errors import OAuthError, json_body
from rolecall.sql import Database
from rolecall_resource.models import Invoice, Profile
from rolecall_resource.protect import requires
from rolecall_resource.validators import AccessToken

SCOPES: Final = ("invoices:read", "invoices:pay", "profile")

DEFAULT_LIMIT: Final = 25
"""Invoices per page without the parameter `limit`."""

MAX_LIMIT: Final = 100
MAX_PAGE: Final = 1_000_000


_table: Final = Invoice.__table__
_SHOWN: Final = tuple(column for column in _table.columns if column.name != "owner_sub")

_IS_OWNED: Final = _table.c.owner_sub == sa.bindparam("owner")
_IS_OWNED_INVOICE: Final = sa.and_(_IS_OWNED, _table.c.id == sa.bindparam("invoice"))

_TOTALS: Final = sa.select(sa.func.count(), sa.func.count().filter(_table.c.state == "open")).where(_IS_OWNED)
_PAGE: Final = (
    sa.select(*_SHOWN)
    .where(_IS_OWNED)
    .order_by(_table.c.issued_on.desc(), _table.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
    .offset(sa.bindparam("offset", type_=sa.Integer))
)
_INVOICE: Final = sa.select(*_SHOWN).where(_IS_OWNED_INVOICE)
_PAY: Final = (
    sa.update(_table)
    .where(_IS_OWNED_INVOICE, _table.c.state == "open")
    .values(state="paid", paid_at=sa.bindparam("now"))
    .returning(*_SHOWN)
)
_PROFILE: Final = sa.select(Profile.__table__).where(Profile.__table__.c.owner_sub == sa.bindparam("owner"))


@requires("invoices:read")
def invoices(token: AccessToken) -> ResponseReturnValue:
    """GET /invoices: a page of the owner's invoices, newest first, with totals and the URL of the next page."""
    limit = _positive_int_parameter("limit", DEFAULT_LIMIT, MAX_LIMIT)
    page = _positive_int_parameter("page", 1, MAX_PAGE)
    owner = {"owner": token.subject}
    with _database().connect() as connection:
        total, unpaid = connection.execute(_TOTALS, owner).one()
        rows = connection.execute(_PAGE, {**owner, "limit": limit, "offset": (page - 1) * limit}).mappings().all()
    pages = max(1, -(-total // limit))
    return json_body(
        {
            "invoices": [{**row} for row in rows],
            "total": total,
            "open": unpaid,
            "page": page,
            "pages": pages,
            "next": url_for("invoices", limit=limit, page=page + 1) if page < pages else None,
        }
    )


def _positive_int_parameter(name: str, default: int, maximum: int) -> int:
    values = request.args.getlist(name) or [str(default)]
    if len(values) == 1 and re.fullmatch("[1-9][0-9]{0,6}", values[0]) and int(values[0]) <= maximum:
        return int(values[0])
    raise OAuthError("invalid_request", f"{name} must be a single integer from 1 to {maximum}.")


@requires("invoices:read")
def invoice(token: AccessToken, invoice_id: str) -> ResponseReturnValue:
    """GET /invoices/{id}: 404 for other owners' invoices, as for unknown ones."""
    with _database().connect() as connection:
        row = connection.execute(_INVOICE, _owned_invoice(token, invoice_id)).mappings().one_or_none()
    if row is None:
        raise _not_found()
    return json_body({**row})


@requires("invoices:pay")
def pay(token: AccessToken, invoice_id: str) -> ResponseReturnValue:
    """POST /invoices/{id}/payment: 201, or 409 if the invoice is already paid."""
    which = _owned_invoice(token, invoice_id)
    with _database().begin() as connection:
        paid = connection.execute(_PAY, {**which, "now": clock.now()}).one_or_none()
        exists = paid is not None or connection.execute(_INVOICE, which).one_or_none() is not None
    if not exists:
        raise _not_found()
    if paid is None:
        raise OAuthError("conflict", "The invoice is already paid.", status=409)
    events.note("state", store="sql", key=f"invoice:{paid.id}", change="paid")
    audit.record("invoice_paid", client_id=token.client_id, invoice=paid.id)
    body = {
        "invoice_id": paid.id,
        "amount_minor": paid.amount_minor,
        "currency": paid.currency,
        "paid_at": paid.paid_at,
    }
    return json_body(body, 201)


@requires("profile")
def profile(token: AccessToken) -> ResponseReturnValue:
    """GET /profile: the owner's name and email address."""
    with _database().connect() as connection:
        row = connection.execute(_PROFILE, {"owner": token.subject}).one_or_none()
    if row is None:
        raise _not_found()
    return json_body({"sub": row.owner_sub, "name": row.name, "email": row.email})


def _owned_invoice(token: AccessToken, invoice_id: str) -> dict[str, str]:
    if "\0" in invoice_id:  # PostgreSQL does not accept NUL in text
        raise _not_found()
    return {"owner": token.subject, "invoice": invoice_id}


def _not_found() -> OAuthError:
    return OAuthError("not_found", "The owner of the token has no resource with this ID.", status=404)


def _database() -> Database:
    return cast("Database", current_app.extensions["resource_database"])

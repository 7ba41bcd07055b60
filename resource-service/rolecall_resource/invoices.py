"""The endpoints of the Invoices API: the owner's invoices, payment, and the owner's profile."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import sqlalchemy as sa
from flask import current_app, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from rolecall import audit, clock, events
from rolecall.errors import OAuthError
from rolecall.sql import Database
from rolecall_resource.models import Invoice, Profile
from rolecall_resource.protect import requires
from rolecall_resource.validators import AccessToken

SCOPES: Final = ("invoices:read", "invoices:pay", "profile")

DEFAULT_LIMIT: Final = 25
"""Invoices per page without the parameter `limit`."""

MAX_LIMIT: Final = 100
MAX_PAGE: Final = 1_000_000


@requires("invoices:read")
def invoices(token: AccessToken) -> ResponseReturnValue:
    """GET /invoices: a page of the owner's invoices, newest first, with totals and the URL of the next page."""
    limit = _positive_int_parameter("limit", DEFAULT_LIMIT, MAX_LIMIT)
    page = _positive_int_parameter("page", 1, MAX_PAGE)
    is_owned = Invoice.owner_sub == token.subject
    query = sa.select(Invoice).where(is_owned).order_by(Invoice.issued_on.desc(), Invoice.id)
    count = sa.func.count()
    with _database().read() as session:
        total, unpaid = session.execute(sa.select(count, count.filter(Invoice.state == "open")).where(is_owned)).one()
        rows = session.scalars(query.limit(limit).offset((page - 1) * limit)).all()
    pages = max(1, -(-total // limit))
    return jsonify(
        invoices=[_invoice_object(row) for row in rows],
        total=total,
        open=unpaid,
        page=page,
        pages=pages,
        next=url_for("invoices", limit=limit, page=page + 1) if page < pages else None,
    )


def _positive_int_parameter(name: str, default: int, maximum: int) -> int:
    values = request.args.getlist(name) or [str(default)]
    if len(values) == 1 and re.fullmatch("[1-9][0-9]{0,6}", values[0]) and int(values[0]) <= maximum:
        return int(values[0])
    raise OAuthError("invalid_request", f"{name} must be a single integer from 1 to {maximum}.")


@requires("invoices:read")
def invoice(token: AccessToken, invoice_id: str) -> ResponseReturnValue:
    """GET /invoices/{id}: 404 for other owners' invoices, as for unknown ones."""
    with _database().read() as session:
        row = session.scalar(sa.select(Invoice).where(_is_owned_invoice(token, invoice_id)))
    if row is None:
        raise _not_found()
    return jsonify(_invoice_object(row))


@requires("invoices:pay")
def pay(token: AccessToken, invoice_id: str) -> ResponseReturnValue:
    """POST /invoices/{id}/payment: 201, or 409 if the invoice is already paid."""
    with _database().transaction() as session:
        paid = session.execute(
            sa.update(Invoice)
            .where(_is_owned_invoice(token, invoice_id), Invoice.state == "open")
            .values(state="paid", paid_at=clock.now())
        )
        row = session.scalar(sa.select(Invoice).where(_is_owned_invoice(token, invoice_id)))
    if row is None:
        raise _not_found()
    if cast("Any", paid).rowcount != 1:
        raise OAuthError("conflict", "The invoice is already paid.", status=409)
    events.note("state", store="sql", key=f"invoice:{row.id}", change="paid")
    audit.record("invoice_paid", client_id=token.client_id, invoice=row.id)
    body = {"invoice_id": row.id, "amount_minor": row.amount_minor, "currency": row.currency, "paid_at": row.paid_at}
    return jsonify(body), 201


@requires("profile")
def profile(token: AccessToken) -> ResponseReturnValue:
    """GET /profile: the owner's name and email address."""
    with _database().read() as session:
        row = session.get(Profile, token.subject)
    if row is None:
        raise _not_found()
    return jsonify(sub=row.owner_sub, name=row.name, email=row.email)


def _is_owned_invoice(token: AccessToken, invoice_id: str) -> sa.ColumnElement[bool]:
    if "\0" in invoice_id:  # PostgreSQL does not accept NUL in text
        raise _not_found()
    return sa.and_(Invoice.id == invoice_id, Invoice.owner_sub == token.subject)


def _invoice_object(row: Invoice) -> dict[str, Any]:
    return {
        column.name: getattr(row, column.name) for column in Invoice.__table__.columns if column.name != "owner_sub"
    }


def _not_found() -> OAuthError:
    return OAuthError("not_found", "The owner of the token has no resource with this ID.", status=404)


def _database() -> Database:
    return cast("Database", current_app.extensions["resource_database"])

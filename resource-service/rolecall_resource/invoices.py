"""The Invoices API: an owner's invoices, paying one, the owner's profile."""

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

LIMIT: Final = 25
"""Invoices in one answer, unless `limit` asks for another number."""

MAX_LIMIT: Final = 100
MAX_PAGE: Final = 1_000_000


@requires("invoices:read")
def invoices(token: AccessToken) -> ResponseReturnValue:
    """GET /invoices: a page of the owner's, the newest first; how many there are in all, and where the next page is."""
    limit, page = _asked("limit", LIMIT, MAX_LIMIT), _asked("page", 1, MAX_PAGE)
    mine = Invoice.owner_sub == token.subject
    query = sa.select(Invoice).where(mine).order_by(Invoice.issued_on.desc(), Invoice.id)
    count = sa.func.count()
    with _database().read() as session:
        total, unpaid = session.execute(sa.select(count, count.filter(Invoice.state == "open")).where(mine)).one()
        rows = session.scalars(query.limit(limit).offset((page - 1) * limit)).all()
    pages = max(1, -(-total // limit))
    return jsonify(
        invoices=[_json(row) for row in rows],
        total=total,
        open=unpaid,
        page=page,
        pages=pages,
        next=url_for("invoices", limit=limit, page=page + 1) if page < pages else None,
    )


def _asked(name: str, default: int, most: int) -> int:
    """A parameter of the query that is a number from 1 on."""
    texts = request.args.getlist(name) or [str(default)]
    if len(texts) == 1 and re.fullmatch("[1-9][0-9]{0,6}", texts[0]) and int(texts[0]) <= most:
        return int(texts[0])
    raise OAuthError("invalid_request", f"{name} must be a whole number from 1 to {most}, once.")


@requires("invoices:read")
def invoice(token: AccessToken, invoice_id: str) -> ResponseReturnValue:
    """GET /invoices/{id}: somebody else's is as unknown as one that never was."""
    with _database().read() as session:
        row = session.scalar(sa.select(Invoice).where(_mine(token, invoice_id)))
    if row is None:
        raise _unknown()
    return jsonify(_json(row))


@requires("invoices:pay")
def pay(token: AccessToken, invoice_id: str) -> ResponseReturnValue:
    """POST /invoices/{id}/payment: 201 once; 409 for one that is paid."""
    with _database().transaction() as session:
        paid = session.execute(
            sa.update(Invoice)
            .where(_mine(token, invoice_id), Invoice.state == "open")
            .values(state="paid", paid_at=clock.now())
        )
        row = session.scalar(sa.select(Invoice).where(_mine(token, invoice_id)))
    if row is None:
        raise _unknown()
    if cast("Any", paid).rowcount != 1:
        raise OAuthError("conflict", "The invoice is paid already.", status=409)
    events.note("state", store="sql", key=f"invoice:{row.id}", change="paid")
    audit.record("invoice_paid", client_id=token.client_id, invoice=row.id)
    body = {"invoice_id": row.id, "amount_minor": row.amount_minor, "currency": row.currency, "paid_at": row.paid_at}
    return jsonify(body), 201


@requires("profile")
def profile(token: AccessToken) -> ResponseReturnValue:
    """GET /profile: what this API knows of the owner."""
    with _database().read() as session:
        row = session.get(Profile, token.subject)
    if row is None:
        raise _unknown()
    return jsonify(sub=row.owner_sub, name=row.name, email=row.email)


def _mine(token: AccessToken, invoice_id: str) -> sa.ColumnElement[bool]:
    if "\0" in invoice_id:  # PostgreSQL takes no such text
        raise _unknown()
    return sa.and_(Invoice.id == invoice_id, Invoice.owner_sub == token.subject)


def _json(row: Invoice) -> dict[str, Any]:
    return {
        column.name: getattr(row, column.name) for column in Invoice.__table__.columns if column.name != "owner_sub"
    }


def _unknown() -> OAuthError:
    return OAuthError("not_found", "There is nothing of this id that is yours.", status=404)


def _database() -> Database:
    return cast("Database", current_app.extensions["resource_database"])

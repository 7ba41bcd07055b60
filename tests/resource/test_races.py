"""Payments of the same invoice at the same moment, in two applications, as two workers receive them."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from support.invoices_api import Api, an_api, an_invoice, another_process, token
from support.parallel import patient, race

pytestmark = [pytest.mark.database, pytest.mark.long]

INVOICES = 6


def test_an_invoice_is_paid_once(tmp_path: Path) -> None:
    invoices = [an_invoice(f"i{number}") for number in range(INVOICES)]
    with an_api(tmp_path, *invoices) as first, another_process(first) as second:
        for invoice in range(INVOICES):
            apis = itertools.islice(itertools.cycle([first, second]), 32)
            responses = race([partial(patient, partial(pay, api, f"i{invoice}")) for api in apis])
            assert Counter(response.status_code for response in responses) == {201: 1, 409: 31}
            assert first.get(f"/invoices/i{invoice}", token()).json["state"] == "paid"


def pay(api: Api, invoice: str) -> TestResponse:
    return api.call("POST", f"/invoices/{invoice}/payment", token())

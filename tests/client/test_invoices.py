"""Tally's list of invoices: a page at a time, the totals, amounts by their currency (ISO 4217)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rolecall_client.money import money
from support.tally import API, INVOICE, Browser, Tally


def api_page(number: int, pages: int = 8, **changes: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return the API's response for one page of 200 invoices, each named after its page."""
    row = {**INVOICE, "supplier": f"Supplier of page {number}"}
    body = {"invoices": [row] * 25, "total": 200, "open": 67, "page": number, "pages": pages, "next": None, **changes}
    return 200, body, {}


@pytest.fixture
def browser(tally: Tally) -> Browser:
    tally.http.answers |= {
        f"{API}/invoices": api_page(1),
        **{f"{API}/invoices?page={number}": api_page(number) for number in range(2, 9)},
        f"{API}/invoices?page=9": api_page(9, invoices=[]),
    }
    browser = tally.browser()
    browser.connect()
    return browser


def links(text: str) -> dict[str, str]:
    return {
        rel: address.replace("&amp;", "&") for rel, address in re.findall(r'rel="(prev|next)" href="([^"]+)"', text)
    }


def test_next_leads_through_all_pages_and_previous_back(browser: Browser) -> None:
    address, seen = "/invoices", []
    while address:
        page = browser.client.get(address).text
        assert "200 invoices" in page
        assert "67 open" in page
        seen += re.findall(r"Supplier of page (\d)", page)[:1]
        assert f"Page {seen[-1]} of 8" in page
        address = links(page).get("next", "")
    assert seen == list("12345678")
    back = links(page)["prev"]
    assert back == "/invoices?page=7#list"
    assert "prev" not in links(browser.client.get("/invoices").text)


def test_a_page_that_is_not_there_leads_to_the_last(browser: Browser) -> None:
    page = browser.client.get("/invoices?page=9").text
    assert "Page 9 does not exist" in page
    assert links(page) == {"prev": "/invoices?page=8#list"}
    assert "You have no invoices yet" not in page


@pytest.mark.parametrize("number", ["0", "-1", "x", "٣", "1&page=2", "10000000", ""])
def test_whatever_is_no_page_is_the_first(browser: Browser, number: str) -> None:
    assert "Supplier of page 1" in browser.client.get(f"/invoices?page={number}").text


@pytest.mark.parametrize("strange", [None, "8", -1, [], 1.5, 10**12])
def test_an_api_that_counts_strangely_is_counted_by_what_it_lists(tally: Tally, strange: Any) -> None:
    body = {"invoices": [INVOICE] * 3, "total": strange, "open": strange, "pages": strange}
    tally.http.answers[f"{API}/invoices"] = (200, body, {})
    browser = tally.browser()
    browser.connect()
    page = browser.client.get("/invoices").text
    assert "3 invoices" in page
    assert "3 open" in page
    assert not links(page)


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (123456, "GBP", "1,234.56 GBP"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (3600, "JPY", "3,600 JPY"),
        (0, "JPY", "0 JPY"),
        (1234567, "KWD", "1,234.567 KWD"),
        (12345, "CLF", "1.2345 CLF"),
        (999_999_999_999_999, "USD", "9,999,999,999,999.99 USD"),
        (100, "???", "1.00 ???"),
    ],
)
def test_amounts_have_the_digits_of_their_currency(minor: int, currency: str, shown: str) -> None:
    """ISO 4217."""
    assert money(minor, currency) == shown

"""Amounts of money as text. The minor unit of most currencies is a hundredth, but not of all (ISO 4217)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

DECIMALS: Final = (
    dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND"), 0)
    | dict.fromkeys(("VUV", "XAF", "XOF", "XPF"), 0)
    | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
    | dict.fromkeys(("CLF", "UYW"), 4)
)
"""The number of decimal digits, for currencies that do not have two (ISO 4217 list one)."""


def money(minor: int, currency: str) -> str:
    """Format an amount in minor units: `1,234.56 GBP`, `3,600 JPY`."""
    digits = DECIMALS.get(currency, 2)
    return f"{Decimal(minor).scaleb(-digits):,.{digits}f} {currency}"

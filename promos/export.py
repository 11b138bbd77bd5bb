"""A new offer's codes as a table for a spreadsheet, made once and kept nowhere."""

import csv
import io
from collections.abc import Sequence

from promos.models import Promo

# What a spreadsheet takes for the beginning of a formula, the wide forms included.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def table(promo: Promo, codes: Sequence[str]) -> str:
    """CSV: a line for each code."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("code", "name", "gives", "uses", "valid_until"))
    gives = " ".join(f"{bucket}={amount}" for bucket, amount in sorted(promo.grants.items()))
    until = promo.valid_until.isoformat() if promo.valid_until else ""
    for code in codes:
        writer.writerow((cell(code), cell(promo.name), gives, promo.uses or "", until))
    return text.getvalue()

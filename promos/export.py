"""A new offer's codes as a table for a spreadsheet, made once and kept nowhere."""

import csv
import io
from collections.abc import Sequence

from bsod.lib.sheet import cell
from promos.models import Promo


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

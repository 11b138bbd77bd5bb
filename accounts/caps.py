"""Daily caps as a plan or a key states them: whole numbers the ledger can hold, by known bucket."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from bsod.lib.terms import Bucket

MOST = 10**15  # units; sums of such still fit into a balance


def checked(caps: Any) -> dict[str, int]:
    """The caps, or ValidationError: a cap the ledger cannot keep would fail every call under it."""
    if not isinstance(caps, Mapping):
        raise ValidationError("Caps are an object of buckets and whole numbers.")
    for bucket, cap in caps.items():
        if bucket not in set(Bucket):
            raise ValidationError(f"Unknown bucket: {bucket}.")
        if type(cap) is not int or not 0 <= cap <= MOST:
            raise ValidationError(f"The cap of {bucket} must be a whole number, 0 to {MOST}.")
    return dict(caps)

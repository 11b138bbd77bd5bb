"""The hidden key of an account, by which what it does in the console is billed (SPEC §8).

Its secret is derived from SECRET_KEY and never stored or shown; the row keeps its proof like any
other key's, so that the gateway needs to know nothing of sessions. Nobody may list, change or
revoke it: its owner's ban or end stops it.
"""

import base64
import hashlib
import hmac

from django.conf import settings

from accounts.keys.models import ApiKey
from accounts.keys.tokens import Token, digest, mint

NAME = "console"


def console_token(account: int) -> Token:
    """What an account's console presents to the gateway; the key is made at its first use."""
    key, _ = ApiKey.objects.get_or_create(
        account_id=account,
        console=True,
        defaults={"public_id": mint()[1].public_id, "digest": "", "last4": "", "name": NAME},
    )
    proof = digest(_secret(key.public_id))
    if key.digest != proof:  # new, or SECRET_KEY is another one now
        ApiKey.objects.filter(pk=key.pk).update(digest=proof)
    return Token(key.public_id, proof)


def _secret(public_id: str) -> str:
    key = hashlib.sha256(b"console-key:" + settings.SECRET_KEY.encode()).digest()
    return base64.urlsafe_b64encode(hmac.digest(key, public_id.encode(), "sha256")).decode()[:43]

"""Provider keys at rest: encrypted, bound to the row that owns them, rotatable.

`VAULT_KEYS` is a list of Fernet keys; the first encrypts, all decrypt. The owner's id is sealed
in beside the secret: a ciphertext copied to another row does not open. A secret that does not
open raises, so that ciphertext can never be sent anywhere as if it were a key.
"""

import hashlib
import hmac
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class VaultError(Exception):
    """The sealed text is corrupt, belongs to another row, or its vault key is gone."""


class Vault:
    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._fingerprint_key = hashlib.sha256(b"fingerprint" + keys[-1].encode()).digest()

    def seal(self, owner: str, secret: str) -> str:
        """Encrypt `secret` for the row called `owner`."""
        return self.seal_bytes(owner, secret.encode()).decode()

    def open(self, owner: str, sealed: str) -> str:
        """The secret, or VaultError."""
        return self.open_bytes(owner, sealed.encode()).decode()

    def seal_bytes(self, owner: str, data: bytes) -> bytes:
        """The same for bytes of any kind."""
        return self._fernet.encrypt(owner.encode() + b"\0" + data)

    def open_bytes(self, owner: str, sealed: bytes) -> bytes:
        """The bytes, or VaultError."""
        try:
            found, _, data = self._fernet.decrypt(sealed).partition(b"\0")
        except (InvalidToken, ValueError):
            raise VaultError("a sealed secret does not open with any of VAULT_KEYS") from None
        if found != owner.encode():
            raise VaultError("a sealed secret belongs to another row")
        return data

    def rotate(self, sealed: str) -> str:
        """The same secret under the first vault key."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise VaultError("a sealed secret does not open with any of VAULT_KEYS") from None

    def fingerprint(self, secret: str) -> str:
        """A keyed hash that finds the same secret twice. Keep the oldest vault key last."""
        return hmac.new(self._fingerprint_key, secret.encode(), hashlib.sha256).hexdigest()

"""Hosts that speak TLS with a certificate that holds, has expired, or is another name's.

An authority of its own signs them all: whoever is given `trust` as SSL_CERT_FILE trusts it, so
that nothing but what is wrong with a certificate makes it fail. Behind the handshake the bytes go
to a `FaultServer`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")
DAY = timedelta(days=1)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class TlsHosts:
    """Use as a context manager; `base_url(kind)` is where `good`, `expired` or `wrong name` is."""

    def __init__(self, folder: Path, behind: int) -> None:
        """Files go into `folder`; what comes through goes to the port `behind`."""
        self.trust = folder / "authority.pem"
        self._folder, self._behind = folder, behind
        self._listeners: dict[str, socket.socket] = {}
        self._signing = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("An authority of the tests")
        now = datetime.now(UTC)
        authority = self._certificate(self._name, self._signing, now + DAY, None)
        self.trust.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self.kinds = {
            "good": (HERE, now + DAY),
            "expired": (HERE, now - DAY),
            "wrong name": (ELSEWHERE, now + DAY),
        }

    def base_url(self, kind: str) -> str:
        return f"https://127.0.0.1:{self._listeners[kind].getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        for kind in self.kinds:
            self._listeners[kind] = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=self._serve, args=(kind,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, kind: str) -> None:
        trust = self._context(kind)
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listeners[kind].accept()
                threading.Thread(target=self._carry, args=(plain, trust), daemon=True).start()

    def _carry(self, plain: socket.socket, trust: ssl.SSLContext) -> None:
        with (
            contextlib.suppress(OSError),
            plain,
            trust.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._behind)) as provider,
        ):
            threading.Thread(target=_pump, args=(client, provider), daemon=True).start()
            _pump(provider, client)

    def _context(self, kind: str) -> ssl.SSLContext:
        name, until = self.kinds[kind]
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._folder / f"{kind.replace(' ', '-')}.pem"
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, plain)
            + self._certificate(_named(kind), key, until, name).public_bytes(
                serialization.Encoding.PEM
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        until: datetime,
        name: x509.GeneralName | None,
    ) -> x509.Certificate:
        """Signed by the authority; without a name it is the authority's own."""
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - 3 * DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=name is None, path_length=None), critical=True)
        )
        if name:
            made = made.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return made.sign(self._signing, hashes.SHA256())

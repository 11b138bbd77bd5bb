"""Mail as an operator sets it up: what goes out, and what is said when it cannot."""

import socketserver
import threading
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from bsod import signin
from tests import kit
from tests.accounts.door import Visitor, text_of

pytestmark = pytest.mark.once  # about mail, not about the database


class Postman(socketserver.StreamRequestHandler):
    """As much of a mail server as it takes to be given one mail."""

    def handle(self) -> None:
        self._say("220 here")
        for line in self.rfile:
            word = line[:4].upper().strip()
            if word == b"DATA":
                self._say("354 go on")
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.letters.append(letter)  # type: ignore[attr-defined]  # put there below
            self._say("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def test_a_mail_server_that_is_away_is_told_and_then_takes_the_mail(launch: Any) -> None:
    port = kit.free_port()
    site = launch(1, EMAIL_URL=f"smtp://127.0.0.1:{port}", EMAIL_FROM="BSOD <hello@site.example>")
    visitor, name = Visitor(site), kit.unique("dora")
    address = f"{name}@mail.example"
    sent = visitor.post(
        "/register/", username=name, email=address, password1="a horse of another colour"
    )
    assert sent.headers["Location"] == "/confirm-email/"
    assert "could not be sent" in text_of(visitor.get("/confirm-email/"))
    log = site.log.read_text()
    assert "ConnectionRefusedError" in log
    assert address not in log
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Postman) as server:
        server.letters = []  # type: ignore[attr-defined]  # for the handler above
        threading.Thread(target=server.serve_forever, daemon=True).start()
        again = visitor.post("/confirm-email/again/", found_on="/confirm-email/")
        assert again.status_code == 302
        (letter,) = server.letters  # type: ignore[attr-defined]  # as above
        server.shutdown()
    assert b"From: BSOD <hello@site.example>" in letter
    assert f"To: {address}".encode() in letter
    assert b"Subject: BSOD: Confirm your address" in letter
    assert f"{site.url}/confirm-email/".encode() in letter


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("smtp+tls://me:p%40ss@mail.example:587",
         {"EMAIL_HOST": "mail.example", "EMAIL_PORT": 587, "EMAIL_HOST_PASSWORD": "p@ss",
          "EMAIL_USE_TLS": True}),
        ("smtp+ssl://mail.example:465", {"EMAIL_USE_SSL": True, "EMAIL_TIMEOUT": 10}),
        ("filemail:///var/mail", {"EMAIL_FILE_PATH": "/var/mail"}),
        ("consolemail://", {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}),
    ],
)  # fmt: skip
def test_one_address_says_how_mail_goes_out(url: str, found: dict[str, Any]) -> None:
    assert found.items() <= signin.mail(url).items()


@pytest.mark.parametrize("url", ["", "mailto:me", "http://me:s3cret@x", "smtp://:s3cret@", "smtp:"])
def test_an_address_that_says_nothing_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        signin.mail(url)
    assert "s3cret" not in str(refused.value)
    assert "smtp+tls://" in str(refused.value)

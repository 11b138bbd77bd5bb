"""What tests are written with: people, providers, and a real gateway to call.

Nothing of ours is faked. The gateway is gunicorn with our configuration in a process group of its
own, on the test database; the provider is `tests/upstream`. Every test makes accounts, providers
and models of its own, so nothing is cleaned between tests and none sees another's.
"""

import contextlib
import itertools
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import Client

from accounts.factors import Factors
from accounts.keys.models import ApiKey
from accounts.keys.service import create_key
from accounts.models import Account
from accounts.service import create_account
from bsod.launch import free_port as free_port
from bsod.lib.groupcommit import exclusive
from bsod.lib.terms import Tier
from proxy.models import Model, Offer, Provider, ProviderKey
from proxy.pool import bump, vault
from quotas.audit import audit, drift_of
from quotas.models import Balance, Entry
from tests import forkserver
from tests.upstream import FaultServer

ROOT = Path(__file__).resolve().parent.parent
_numbers = itertools.count(1)

leftovers: list[Callable[[], None]] = []
"""What a test may have left open; the suite calls these after it."""


def unique(stem: str) -> str:
    """A name no other test of this run has."""
    return f"{stem}-{next(_numbers)}-{secrets.token_hex(3)}"


def eventually(check: Callable[[], Any], seconds: float = 5.0, every: float = 0.02) -> Any:
    """The first true value of `check`, or its last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(every)


@dataclass
class Person:
    """An account with one API key."""

    account: Account
    key: ApiKey
    secret: str

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def entries(self) -> list[Entry]:
        """The account's calls, oldest first."""
        return list(Entry.objects.filter(account=self.account, kind="call").order_by("id"))

    def closed(self, count: int = 1, seconds: float = 5.0) -> list[Entry]:
        """The same, once `count` of them are closed and none is open."""

        def done() -> list[Entry] | None:
            found = self.entries()
            ready = len(found) >= count and all(entry.state != "open" for entry in found)
            return found if ready else None

        found = eventually(done, seconds)
        assert found, f"{count} closed entries expected: {[vars(e) for e in self.entries()]}"
        return list(found)

    def used(self, bucket: str = "text.base") -> int:
        rows = Balance.objects.filter(account=self.account, bucket=bucket, owner="user")
        return sum(row.used for row in rows)

    def reserved(self) -> int:
        return sum(row.reserved for row in Balance.objects.filter(account=self.account))


def person(name: str = "alice", *, plan: str = "free", admin: bool = False, **key: Any) -> Person:
    """A new account; keyword arguments go to its key."""
    password = secrets.token_urlsafe(16) if admin else None
    account = create_account(unique(name), plan=plan, admin=admin, password=password)
    row, secret = create_key(account, name, **key)
    return Person(account, row, secret)


def arm(account: Account) -> str:
    """The account has an app as its second factor; its secret."""
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    sealed = {"secret": Factors().encrypt(secret)}
    Authenticator.objects.get_or_create(user=account, type="totp", defaults={"data": sealed})
    return secret


def session_of(account: Account, *, again: bool = False, factor: bool = False) -> str:
    """The key of a session as signing in leaves it; nobody has to hash a password for it.

    `again`: the password was asked for a moment ago; `factor`: so was the second factor.
    """
    store = SessionStore()
    store[SESSION_KEY] = str(account.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = account.get_session_auth_hash()
    asked = [method for method, done in (("password", again), ("mfa", factor)) if done]
    store["account_authentication_methods"] = [
        {"method": method, "at": time.time(), "reauthenticated": True} for method in asked
    ]
    store["account_authentication_methods_user"] = str(account.pk)
    store.save()
    key = str(store.session_key)
    UserSession.objects.create(
        user=account, ip="127.0.0.1", session_key=key, user_agent="Firefox/1 Linux"
    )
    return key


def staff_client(account: Account) -> Client:
    """Django's test client of somebody who has signed in with his second factor, and so gets into
    the admin if he is staff."""
    arm(account)
    client = Client(HTTP_HOST="127.0.0.1")
    client.cookies[settings.SESSION_COOKIE_NAME] = session_of(account, factor=True)
    return client


@dataclass
class Supply:
    """A provider of one model, whose keys work, served by a fault server."""

    provider: Provider
    model: str
    keys: list[str]
    up: FaultServer

    def key_row(self, number: int = 0) -> ProviderKey:
        rows = ProviderKey.objects.filter(provider=self.provider).order_by("id")
        return list(rows)[number]


def supply(
    up: FaultServer,
    *,
    keys: int = 1,
    model: str | None = None,
    kind: str = "compatible",
    tier: str = Tier.BASE,
    max_output: int | None = 16_384,
    catch_all: bool = False,
    base_url: str | None = None,
    **traits: Any,
) -> Supply:
    """Rows of a provider as a probe would have left them: live keys, one model on offer."""
    name = model or unique("model")
    provider = Provider.objects.create(
        slug=unique("up"), kind=kind, base_url=base_url or up.base_url, catch_all=catch_all
    )
    made = [unique("sk-test") for _ in range(keys)]
    for secret in made:
        row = ProviderKey(
            provider=provider, fingerprint=vault().fingerprint(secret), last4=secret[-4:]
        )
        row.sealed = vault().seal(row.uid, secret)
        row.save()
    described, _ = Model.objects.get_or_create(
        name=name, defaults={"tier": tier, "max_output": max_output, **traits}
    )
    Offer.objects.create(model=described, provider=provider, upstream_id=name)
    bump()
    return Supply(provider, name, made, up)


@dataclass
class Site:
    """A running gateway: gunicorn, its workers, and nothing else."""

    url: str
    process: forkserver.Running
    log: Path
    session: requests.Session = field(default_factory=requests.Session)

    def post(self, who: Person | None, body: Any = None, path: str = "/v1/chat/completions",
             **kwargs: Any) -> requests.Response:  # fmt: skip
        headers = {**(who.auth if who else {}), **kwargs.pop("headers", {})}
        if body is not None:
            kwargs["json"] = body
        response = self.session.post(self.url + path, headers=headers, timeout=30, **kwargs)
        if kwargs.get("stream"):
            leftovers.append(response.close)
        return response

    def get(self, who: Person | None, path: str, **kwargs: Any) -> requests.Response:
        headers = {**(who.auth if who else {}), **kwargs.pop("headers", {})}
        return self.session.get(self.url + path, headers=headers, timeout=30, **kwargs)

    def chat(self, who: Person, supplied: Supply, **body: Any) -> requests.Response:
        """A chat completion with one short message."""
        return self.post(who, ask(supplied, **body))

    def workers(self) -> list[int]:
        """Process ids of the workers, which are gunicorn's children."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in found.read_text().split()] if found.exists() else []

    def kill_workers(self) -> None:
        for pid in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        self.session.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def ask(supplied: Supply, **body: Any) -> dict[str, Any]:
    return {
        "model": supplied.model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 50,
        **body,
    }


def database_url() -> str:
    """The test database, as another process reaches it."""
    found = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{found['NAME']}"
    base = os.environ["DATABASE_URL"]
    head, _, query = base.partition("?")
    return f"{head.rpartition('/')[0]}/{found['NAME']}" + (f"?{query}" if query else "")


def environment(**more: str) -> dict[str, str]:
    """The environment of a process of ours on the test database."""
    return {
        **os.environ,
        "DATABASE_URL": database_url(),
        "DATA_DIR": str(settings.DATA_DIR),
        "DJANGO_SETTINGS_MODULE": "bsod.settings",
        **more,
    }


def launch(workers: int = 2, **env: str) -> Site:
    """Start a gateway and wait until it is ready."""
    port = free_port()
    log = settings.DATA_DIR / f"gateway-{port}.log"
    with log.open("wb") as output:
        process = forkserver.start(
            [str(Path(sys.executable).parent / "gunicorn"), "-c", "bsod/gunicorn.py",
             "bsod.asgi:application"],
            environment(PORT=str(port), HOST="127.0.0.1", WEB_CONCURRENCY=str(workers), **env),
            output.fileno(), output.fileno(),
        )  # fmt: skip
    site = Site(f"http://127.0.0.1:{port}", process, log)
    try:
        up = eventually(lambda: _ready(site, port, workers), 30, 0.05)
        assert up, f"the gateway did not start:\n{log.read_text()}"
    except BaseException:
        site.stop(signal.SIGKILL)
        raise
    return site


def _ready(site: Site, port: int, workers: int) -> bool:
    if site.process.poll() is not None:
        raise AssertionError(f"the gateway died:\n{site.log.read_text()}")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False  # found out for a hundredth of what a request costs
    try:
        up = requests.get(f"{site.url}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False
    return up and len(site.workers()) >= workers


@contextlib.contextmanager
def worker(**env: str) -> Iterator[forkserver.Running]:
    """A running `manage.py worker`."""
    process = forkserver.start(["manage.py", "worker"], environment(**env))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def manage(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run a management command as an operator would."""
    return forkserver.run(["manage.py", *args], environment(**env))


def ledger_adds_up(person: Person | None = None) -> bool:
    """No drift; of a person alone, and then none of his calls is open either. The ledger of
    everybody in the suite is added up when that ends."""
    if person is None:
        assert audit().drift == []
        return True
    open_calls = Entry.objects.filter(account=person.account, state="open")
    assert not open_calls.exists()
    assert person.reserved() == 0
    assert drift_of(person.account) == []
    return True


def sse(response: requests.Response) -> list[str]:
    """The data of every event of a stream, comments left out."""
    return [line[6:].decode() for line in response.iter_lines() if line.startswith(b"data: ")]


@contextlib.contextmanager
def beside(work: Callable[[], Any]) -> Iterator[None]:
    """Run something that uses the database in a thread of its own while the block runs."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
    assert not failed, failed


@contextlib.contextmanager
def ledger_held(who: Person) -> Iterator[threading.Event]:
    """Somebody else has the lock, SQLite's or the account's, until the event is set."""
    taken, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive("somebody else"), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(
                    "SELECT 1 FROM accounts_account WHERE id = %s FOR UPDATE", [who.account.pk]
                )
            taken.set()
            let_go.wait(20)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield let_go
    finally:
        let_go.set()
        thread.join()

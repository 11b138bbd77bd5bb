"""``python -m bench.adminlists``: the admin's lists at a million entries, beside a thousand.

A throwaway database of each kind is filled twice: with few rows, then with 1 000 000 entries of
100 000 users. Each page is opened several times with Django's test client; what counts is the
processor's time it takes, in this process and in PostgreSQL's, so that a busy machine changes
little. Exit 1: a page takes more than `BAR` times what it took, and enough to be felt.
"""

import argparse
import contextlib
import itertools
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SMALL, LARGE = 1_000, 1_000_000
ENTRIES_A_USER, BALANCES_A_USER, KEYS_A_USER = 10, 3, 1
BAR, FELT_MS = 3.0, 50.0
ROUNDS = 7
_DAYS = 90
_MODELS = [f"model-{n}" for n in range(40)]
_CHUNK = 20_000
_SPELT = ("DateTimeField", "JSONField")
"""Fields whose values a driver does not take as they are."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--entries", type=int, default=LARGE)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        return measure(asked.entries)
    kinds = [asked.only] if asked.only else ["sqlite", "postgresql"]
    return max(run(kind, asked.entries) for kind in kinds)


def run(kind: str, entries: int) -> int:
    """In a process and a folder of its own: settings are read once."""
    with tempfile.TemporaryDirectory(prefix="bsod-lists-") as folder, _server(kind) as url:
        print(f"\n== {kind}", flush=True)
        env = {**os.environ, "DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "bsod.settings",
               "LOCAL_MODEL": "off", "LOG_LEVEL": "ERROR"}  # fmt: skip
        env.pop("DATABASE_URL", None)
        env |= {"DATABASE_URL": url} if url else {}
        command = [sys.executable, "-m", "bench.adminlists", "--here", f"--entries={entries}"]
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


@contextlib.contextmanager
def _server(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield ""
        return
    from tests.databases import postgresql

    with postgresql() as url:
        yield url


def measure(entries: int) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    client = _root()
    Filled.at(SMALL)
    few = {name: best(client, path) for name, path in pages().items()}
    began = time.monotonic()
    Filled.at(entries)
    print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
    many = {name: best(client, path) for name, path in pages().items()}
    slow = table(few, many, entries)
    sheet(client)
    return 1 if slow else 0


def _root() -> Any:
    from accounts.service import create_account
    from tests.kit import staff_client

    return staff_client(create_account("root", password=None, admin=True))


# ---- what is measured


def pages() -> dict[str, str]:
    """Every list, filtered lists, and deep pages; addresses are of rows that are there."""
    from accounts.keys.models import ApiKey
    from accounts.models import Account
    from bsod.lib import ids
    from quotas.models import Entry

    light = Account.objects.order_by("-id").values_list("username", flat=True)[0]
    key = ApiKey.objects.order_by("-id").values_list("public_id", flat=True)[0]
    old = ids.first(datetime.now(UTC) - timedelta(days=_DAYS * 0.7))
    last = Entry.objects.order_by("id").values_list("pk", flat=True)[0]
    day = (datetime.now(UTC) - timedelta(days=_DAYS // 2)).date()
    entry, people = "quotas/entry/", "accounts/account/"
    return {
        "overview": "",
        "entries": entry,
        "entries, deep": f"{entry}?before={old}",
        "entries, the last": f"{entry}?after={last}",
        "entries of a heavy account": f"{entry}?account=heavy",
        "entries of a light account": f"{entry}?account={light}",
        "entries of a key": f"{entry}?key={key}",
        "entries: grants": f"{entry}?kind__exact=grant",
        "entries: shortfall": f"{entry}?shortfall__gt=0",
        "entries: a day": f"{entry}?day__gte={day}&day__lte={day}",
        "entries: image (window)": f"{entry}?bucket=image",
        "entries: crashed (window)": f"{entry}?end_reason__exact=crashed",
        "entries: no such model (window)": f"{entry}?model=none",
        "entries: a day, no such model": f"{entry}?day__lte={day}&model=none",
        "entries: heavy, a model": f"{entry}?account=heavy&model=model-7",
        "entries: request id": f"{entry}?q={last}",
        "an entry": f"{entry}{last}/change/",
        "reservations": "quotas/reservation/",
        "balances": "quotas/balance/",
        "balances of an account": f"quotas/balance/?account={light}",
        "balances: reserved (window)": "quotas/balance/?now=reserved",
        "grants": "quotas/grant/",
        "usage by day": "quotas/usageday/",
        "usage: a day": f"quotas/usageday/?day={day}",
        "users": people,
        "users: a name": f"{people}?q={light}",
        "API keys": "keys/apikey/",
        "audit log": "accounts/auditevent/",
        "audit log: of a person": "accounts/auditevent/?who=root",
        "offers": "promos/promo/",
        "codes": "promos/promocode/",
        "redemptions": "promos/redemption/",
        "redemptions of an account": f"promos/redemption/?account={light}",
    }  # fmt: skip


def best(client: Any, path: str) -> tuple[float, int]:
    """Milliseconds of the cheapest of some tries, and its status."""
    times, status = [], 0
    for _ in range(ROUNDS):
        began = _worked()
        status = client.get(f"/admin/{path}").status_code
        times.append((_worked() - began) * 1000)
        if times[-1] > 5_000:
            break
    return min(times), status


def _worked() -> float:
    """Seconds of the processor so far: ours, and of the server's process that works for us."""
    from django.db import connection

    own = time.process_time()
    if connection.vendor == "sqlite":
        return own
    if connection.connection is None:
        with connection.cursor() as cursor:
            cursor.execute("SET max_parallel_workers_per_gather = 0")  # they would not be counted
    server = connection.connection.info.backend_pid
    return own + int(Path(f"/proc/{server}/schedstat").read_text().split()[0]) / 1e9


def table(few: dict[str, Any], many: dict[str, Any], entries: int) -> list[str]:
    """Print it; the pages that break the bar."""
    print(f"{'page':34}{SMALL:>10,}{entries:>12,}{'ratio':>8}")
    slow = []
    for name, (before, _) in few.items():
        after, status = many[name]
        ratio = after / before
        wrong = status != 200 or (ratio > BAR and after > FELT_MS)
        slow += [name] * wrong
        mark = f"  {status}" if status != 200 else "  SLOW" if wrong else ""
        print(f"{name:34}{before:>7.0f} ms{after:>9.0f} ms{ratio:>8.1f}{mark}")
    print(f"bar: at most {BAR:g} times, or under {FELT_MS:g} ms: {'broken' if slow else 'holds'}")
    return slow


def sheet(client: Any) -> None:
    """The longest table that can be taken, and what memory it takes."""
    before, began = _peak_mb(), time.monotonic()
    answer = client.get("/admin/quotas/entry/csv/")
    size = lines = 0
    for piece in answer.streaming_content:
        size, lines = size + len(piece), lines + piece.count(b"\n")
    took = time.monotonic() - began
    print(f"CSV: {lines:,} lines, {size / 2**20:.0f} MB in {took:.1f} s, "
          f"{_peak_mb() - before:.0f} MB more memory at its peak")  # fmt: skip


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- rows, written past the ledger


class Filled:
    """So many entries, and what belongs to so many."""

    users = entries = 0

    @classmethod
    def at(cls, entries: int) -> None:
        from django.db import connection

        users = max(1, entries // ENTRIES_A_USER)
        chance, now = random.Random(entries), datetime.now(UTC)
        people(cls.users, users, now)
        from accounts.keys.models import ApiKey

        owners = dict(ApiKey.objects.order_by("account").values_list("account", "pk"))
        balances(dict([*owners.items()][cls.users :]), now, chance)
        calls(entries - cls.entries, owners, now, chance)
        acts([*owners][cls.users :], now)
        cls.users, cls.entries = users, entries
        with connection.cursor() as cursor:
            # As PostgreSQL's own housekeeping does within a minute.
            cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "SELECT 1")


def people(there: int, wanted: int, now: datetime) -> None:
    from accounts.keys.models import ApiKey
    from accounts.models import Account

    names = ["heavy"] if not there else []
    names += [f"user-{n}" for n in range(there + len(names), wanted)]
    copy(Account, (
        {"username": name, "password": "!", "plan_id": "free", "email": "", "is_active": True,
         "date_joined": now, "first_name": "", "last_name": ""}
        for name in names
    ))  # fmt: skip
    new = Account.objects.filter(username__in=names[:1]).values_list("pk", flat=True)[0]
    rows = Account.objects.filter(pk__gte=new).order_by("pk").values_list("pk", flat=True)
    copy(ApiKey, (
        {"public_id": f"{pk:012x}", "digest": "0" * 64, "last4": "wxyz", "account_id": pk,
         "name": "k", "created_at": now}
        for pk in list(rows)
    ))  # fmt: skip


def balances(accounts: dict[int, int], now: datetime, chance: random.Random) -> None:
    from quotas.models import Balance, UsageDay

    days = [(now - timedelta(days=n)).date().isoformat() for n in range(BALANCES_A_USER)]
    copy(Balance, (
        {"account_id": account, "bucket": "text.base", "period": day, "granted": 500_000,
         "used": chance.randrange(1000), "created_at": now}
        for account in accounts for day in days
    ))  # fmt: skip
    copy(Balance, (
        {"account_id": account, "bucket": "image", "period": None, "granted": 9, "created_at": now}
        for number, account in enumerate(accounts) if number < 100 or number % 100 == 0
    ))  # fmt: skip
    copy(UsageDay, (
        {"account_id": account, "api_key_id": key, "model": chance.choice(_MODELS),
         "bucket": "text.base", "day": chance.choice(days), "calls": 1, "amount": 9}
        for account, key in accounts.items()
    ))  # fmt: skip


def acts(accounts: list[int], now: datetime) -> None:
    """What admins did to each of them, and a code that each redeemed."""
    from accounts.models import AuditEvent
    from promos.models import Promo, PromoCode, Redemption

    copy(AuditEvent, (
        {"at": now, "verb": "account.grant",
         "target_kind": "accounts.account", "target_id": str(account), "reason": "why"}
        for account in accounts
    ))  # fmt: skip
    batch = 1000 if len(accounts) > SMALL else 2
    for first in range(0, len(accounts), batch):
        some = accounts[first : first + batch]
        offer = Promo.objects.create(name=f"offer {first}", grants={"image": 1})
        copy(PromoCode, (
            {"promo_id": offer.pk, "digest": f"{account:064x}", "last4": "WXYZ", "most": 1,
             "redeemed": 1} for account in some
        ))  # fmt: skip
        codes = PromoCode.objects.filter(promo=offer).order_by("pk").values_list("pk", flat=True)
        copy(Redemption, (
            {"promo_id": offer.pk, "code_id": code, "account_id": account, "number": 1,
             "via": "page", "created_at": now}
            for account, code in zip(some, list(codes), strict=True)
        ))  # fmt: skip


def calls(count: int, keys: dict[int, int], now: datetime, chance: random.Random) -> None:
    """A tenth of them are one account's; a few are odd: where there are few calls more of them, so
    that the same page has as many lines."""
    from bsod.lib import ids
    from quotas.models import Entry

    owners = [*keys]
    heavy = owners[0]
    step = timedelta(days=_DAYS) / count
    shares = (0.001, 0.01, 0.0005, 0.0005) if count > SMALL else (0.07,) * 4
    edges = [0.0, *itertools.accumulate(shares)]
    bounds = [*itertools.pairwise(edges)]
    favourite, usual = _MODELS[7], 1.0 if count > SMALL else 0.3

    def row(number: int) -> dict[str, Any]:
        at, odd = now - timedelta(days=_DAYS) + step * number, chance.random()
        account = heavy if chance.random() < 0.1 else chance.choice(owners)
        grant, image, short, crashed = (low <= odd < high for low, high in bounds)
        opened = number > count - 100
        return {
            "id": f"{ids.first(at)[:10]}{number:016d}", "kind": "grant" if grant else "call",
            "state": "open" if opened else "settled",
            "account_id": account, "api_key_id": keys[account], "route": "/v1/chat/completions",
            "model": favourite if odd > usual else chance.choice(_MODELS),
            "day": at.date().isoformat(),
            "bucket": "image" if image else "text.base", "estimate": 100,
            "amount": chance.randrange(1000), "shortfall": 5 if short else 0,
            "end_reason": "" if opened else "crashed" if crashed else "completed",
            "status": 200, "attempts": 1, "latency_ms": chance.randrange(9000),
            "process": "P" * 26 if opened else None, "created_at": at,
            "closed_at": None if opened else at,
        }  # fmt: skip

    copy(Entry, map(row, range(count)))


def copy(model: Any, rows: Iterator[dict[str, Any]]) -> None:
    """Write many rows, each column that is not named at its default."""
    from django.db import connection

    rows = iter(rows)
    head = next(rows, None)
    if head is None:
        return
    fields = [field for field in model._meta.concrete_fields
              if not field.primary_key or field.attname in head]  # fmt: skip
    usual = [field.get_db_prep_save(field.get_default(), connection) for field in fields]
    given = [
        (place, field.attname,
         field.get_db_prep_save if field.get_internal_type() in _SPELT else None)
        for place, field in enumerate(fields) if field.attname in head
    ]  # fmt: skip
    names = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    table = connection.ops.quote_name(model._meta.db_table)

    def line(row: dict[str, Any]) -> list[Any]:
        values = usual.copy()
        for place, name, spelt in given:
            values[place] = spelt(row[name], connection) if spelt else row[name]
        return values

    lines = map(line, itertools.chain([head], rows))
    statement = f"COPY {table} ({names}) FROM STDIN"
    if connection.vendor == "sqlite":
        statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join(['?'] * len(fields))})"
    connection.ensure_connection()
    while part := list(itertools.islice(lines, _CHUNK)):
        if connection.vendor == "sqlite":
            connection.connection.execute("BEGIN IMMEDIATE")
            connection.connection.executemany(statement, part)
            connection.connection.execute("COMMIT")
            continue
        with connection.cursor() as cursor, cursor.copy(statement) as to:
            for values in part:
                to.write_row(values)


if __name__ == "__main__":
    sys.exit(main())

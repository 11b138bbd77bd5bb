"""The audit finds what does not add up, says where, and ends with a code other than 0."""

import contextlib
import io
import threading
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F

import quotas.audit
from quotas.audit import Drift, audit
from quotas.draw import Leg
from quotas.ledger import dump_legs
from quotas.models import AuditRun, Balance, Entry
from tests.kit import Person, ledger_adds_up, manage
from tests.quotas import books


@contextlib.contextmanager
def bent(balance: Balance, **change: int) -> Iterator[None]:
    """A balance that lies, put right again whatever happens: the audit is everybody's."""
    row = Balance.objects.filter(pk=balance.pk)
    row.update(**{name: F(name) + by for name, by in change.items()})
    try:
        yield
    finally:
        row.update(**{name: F(name) - by for name, by in change.items()})


def drift_of(balance: Balance) -> list[Drift]:
    return [drift for drift in audit().drift if drift.balance == balance.pk]


def test_a_busy_day_adds_up(alice: Person) -> None:
    cap = books.day_row(alice)
    books.spend(alice, (cap, 3))
    held = books.hold(alice, cap, 2)
    assert drift_of(cap) == []
    books.let_go(held, cap)
    assert ledger_adds_up(alice)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"used": 1}, ("used", 4, 3)),
        ({"used": -1}, ("used", 2, 3)),
        ({"reserved": 2}, ("reserved", 2, 0)),
        ({"closed": 1}, ("used", 3, 4)),
    ],
)
def test_a_balance_that_lies_is_found(
    alice: Person, change: dict[str, int], found: tuple[str, int, int]
) -> None:
    cap = books.day_row(alice)
    books.spend(alice, (cap, 3))
    with bent(cap, **change):
        assert drift_of(cap) == [Drift(cap.pk, *found)]
        last = AuditRun.objects.first()
        assert last is not None
        assert {"balance": cap.pk, "field": found[0], "stored": found[1], "entries": found[2]} in (
            last.drift
        )
    assert drift_of(cap) == []


def test_entries_of_a_balance_that_is_not_there_are_found(alice: Person) -> None:
    lost = Balance.objects.order_by("-id").values_list("id", flat=True).first() or 0
    lost += 10**9
    made = books.entry(alice, [Leg(lost, 5)])
    try:
        assert Drift(lost, "missing", 0, 5) in audit().drift
    finally:
        Entry.objects.filter(pk=made.pk).delete()


def test_a_grant_spends_nothing_and_an_open_call_counts_as_held(alice: Person) -> None:
    cap = books.day_row(alice)
    books.entry(alice, [Leg(cap.pk, 9)], kind="grant")
    held = books.entry(alice, [Leg(cap.pk, 4)], state="open", amount=0)
    assert drift_of(cap) == [Drift(cap.pk, "reserved", 0, 4)]
    Entry.objects.filter(pk=held.pk).update(state="released", legs=dump_legs([]))
    assert drift_of(cap) == []


def test_a_busy_ledger_does_not_look_like_drift(alice: Person) -> None:
    """Audits while another connection spends without a pause: each sees one moment."""
    cap, stop, errors = books.day_row(alice, granted=10**6), threading.Event(), []

    def busy() -> None:
        try:
            while not stop.is_set():
                books.spend(alice, (cap, 1))
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        found = [quotas.audit.drift_of(alice.account) for _ in range(100)]
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert found == [[]] * 100
    assert Entry.objects.filter(account=alice.account).count() > 1


def test_the_command_prints_what_was_charged_and_that_it_adds_up(alice: Person) -> None:
    books.spend(alice, (books.day_row(alice), 3))
    out = io.StringIO()
    call_command("audit_ledger", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].endswith("open")
    assert any(line.startswith("  image: ") and line.endswith(" charged") for line in lines)
    assert lines[-1] == "The ledger adds up."


def test_the_command_names_the_drift_and_fails(alice: Person) -> None:
    cap = books.day_row(alice)
    books.spend(alice, (cap, 3))
    out = io.StringIO()
    with bent(cap, used=2), pytest.raises(CommandError, match="1 balances have drifted"):
        call_command("audit_ledger", stdout=out)
    assert f"balance {cap.pk}: used is 5, its entries say 3" in out.getvalue()
    assert "adds up" not in out.getvalue()


def test_the_exit_code_tells_a_script(alice: Person) -> None:
    cap = books.day_row(alice)
    books.spend(alice, (cap, 3))
    with bent(cap, used=2):
        failed = manage("audit_ledger")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr

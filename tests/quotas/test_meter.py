"""Grants, corrections and purges: whatever is moved or forgotten, the ledger still adds up."""

import io
import random
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from accounts.caps import MOST
from bsod.lib import clock
from bsod.lib.terms import Bucket
from quotas.audit import audit
from quotas.draw import Leg
from quotas.ledger import load_legs
from quotas.meter import Impossible, correct, grant, prune, purge
from quotas.models import Balance, Entry, UsageDay
from tests.kit import Person, ledger_adds_up
from tests.quotas import books

HOUR = timedelta(hours=1)


def fresh(balance: Balance) -> Balance:
    return Balance.objects.get(pk=balance.pk)


def test_a_grant_is_a_balance_and_an_entry_of_its_own(alice: Person) -> None:
    ends = clock.now() + HOUR
    balance = grant(alice.account, Bucket.IMAGE, 7, ends)
    row = fresh(balance)
    assert (row.granted, row.used, row.reserved, row.period, row.expires_at) == (
        7,
        0,
        0,
        None,
        ends,
    )
    made = Entry.objects.get(account=alice.account)
    assert (made.kind, made.state, made.amount, made.bucket) == ("grant", "settled", 7, "image")
    assert load_legs(made.legs) == [Leg(balance.pk, 7)]
    assert ledger_adds_up(alice)


@pytest.mark.parametrize("amount", [0, -1, MOST + 1, 10**30])
def test_a_grant_the_ledger_cannot_keep_is_refused(alice: Person, amount: int) -> None:
    with pytest.raises(Impossible):
        grant(alice.account, Bucket.IMAGE, amount)
    assert not Balance.objects.filter(account=alice.account).exists()
    assert not Entry.objects.filter(account=alice.account).exists()


def test_the_largest_grant_is_kept_exactly(alice: Person) -> None:
    assert fresh(grant(alice.account, Bucket.CREDITS, MOST)).granted == MOST


def test_a_correction_moves_what_is_used_both_ways(alice: Person) -> None:
    balance = grant(alice.account, Bucket.IMAGE, 10)
    spent = books.spend(alice, (balance, 6))
    made = correct(alice.account, balance, -4)
    assert (made.kind, made.amount) == ("correction", -4)
    assert fresh(balance).used == 2
    correct(alice.account, balance, 8)
    assert fresh(balance).used == 10
    assert Entry.objects.get(pk=spent.pk).amount == 6, "the entry itself never changes"
    assert ledger_adds_up(alice)


@pytest.mark.parametrize("amount", [-7, 3])
def test_a_correction_beyond_the_balance_is_refused(alice: Person, amount: int) -> None:
    balance = grant(alice.account, Bucket.IMAGE, 10)
    books.spend(alice, (balance, 6))
    held = books.hold(alice, balance, 2)
    with pytest.raises(Impossible):
        correct(alice.account, balance, amount)
    assert fresh(balance).used == 6
    books.let_go(held, balance)
    assert ledger_adds_up(alice)


def test_nobody_elses_balance_is_corrected(alice: Person, bob: Person) -> None:
    balance = grant(alice.account, Bucket.IMAGE, 10)
    with pytest.raises(Balance.DoesNotExist):
        correct(bob.account, balance, 1)


def test_a_purge_forgets_the_calls_and_keeps_their_sums(alice: Person, bob: Person) -> None:
    cap, gift = books.day_row(alice), grant(alice.account, Bucket.IMAGE, 10)
    books.spend(alice, (cap, 3))
    books.spend(alice, (cap, 7), (gift, 4))
    held = books.hold(alice, gift, 2)
    other = books.spend(bob, (books.day_row(bob), 5))

    assert purge(alice.account) == 3, "two calls and the grant's entry"

    assert list(Entry.objects.filter(account=alice.account)) == [held]
    assert not UsageDay.objects.filter(account=alice.account).exists()
    assert (fresh(cap).used, fresh(cap).closed) == (10, 10)
    assert (fresh(gift).used, fresh(gift).closed, fresh(gift).reserved) == (4, 4, 2)
    assert Entry.objects.filter(pk=other.pk).exists()
    assert UsageDay.objects.filter(account=bob.account).exists()
    books.let_go(held, gift)
    assert purge(alice.account) == 1
    assert purge(alice.account) == 0
    assert ledger_adds_up(alice)


def test_a_purge_before_a_moment_leaves_what_came_after(alice: Person) -> None:
    cap, now = books.day_row(alice), clock.now()
    books.spend(alice, (cap, 2), at=now - timedelta(days=40))
    kept = books.spend(alice, (cap, 3))
    assert purge(alice.account, now - timedelta(days=30)) == 1
    assert list(Entry.objects.filter(account=alice.account)) == [kept]
    assert fresh(cap).closed == 2
    assert UsageDay.objects.filter(account=alice.account).count() == 1
    assert ledger_adds_up(alice)


def test_what_was_purged_can_still_be_given_back_and_charged(alice: Person) -> None:
    gift, now = grant(alice.account, Bucket.IMAGE, 10), clock.now()
    books.spend(alice, (gift, 8), at=now - HOUR)
    correct(alice.account, gift, -8)
    purge(alice.account, now - HOUR / 2)
    assert (fresh(gift).used, fresh(gift).closed) == (0, 8)
    correct(alice.account, gift, 5)
    assert fresh(gift).used == 5
    assert ledger_adds_up(alice)


def test_pruning_is_a_purge_of_everybody(alice: Person, bob: Person) -> None:
    now = clock.now()
    for who in (alice, bob):
        books.spend(who, (books.day_row(who), 4), at=now - timedelta(days=4000))
        books.spend(who, (books.day_row(who), 1))
    assert prune(now - timedelta(days=3999)) >= 2
    for who in (alice, bob):
        row = books.day_row(who)
        assert (row.used, row.closed) == (5, 4)
        assert Entry.objects.filter(account=who.account).count() == 1
        assert ledger_adds_up(who)


def test_any_order_of_movements_keeps_the_audit_clean(alice: Person) -> None:
    """A random walk over spend, correct, purge and prune; the database's walls never trip."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    dice, moments = random.Random(seed), [None]
    gift = grant(alice.account, Bucket.IMAGE, 1000)
    for _ in range(60):
        move = dice.choice(["spend", "spend", "correct", "correct", "purge"])
        row = fresh(gift)
        if move == "spend":
            left = (row.granted or 0) - row.used
            books.spend(alice, (gift, dice.randint(0, left)))
        elif move == "correct":
            amount = dice.randint(-1200, 1200)
            fits = 0 <= row.used + amount <= 1000
            try:
                correct(alice.account, gift, amount)
                assert fits
            except Impossible:
                assert not fits
        else:
            purge(alice.account, dice.choice(moments[-20:]))
        moments.append(clock.now())
    mine = [drift for drift in audit().drift if drift.balance == gift.pk]
    assert mine == []


def test_the_grant_command_says_what_it_did(alice: Person) -> None:
    out = io.StringIO()
    call_command("grant", alice.account.username, "text.pro", "1500", stdout=out)
    assert out.getvalue() == f"Granted {alice.account.username} 1500 tokens of text.pro.\n"
    assert Balance.objects.get(account=alice.account).granted == 1500


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("nobody-here", "image", "5"), "There is no user"),
        (("@alice", "images", "5"), "invalid choice"),
        (("@alice", "image", "0"), "from 1 to"),
        (("@alice", "image", "1.5"), "invalid int"),
        (("@alice", "image", "9" * 40), "from 1 to"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_in_words(
    alice: Person, words: tuple[str, ...], complaint: str
) -> None:
    asked = [word.replace("@alice", alice.account.username) for word in words]
    with pytest.raises(CommandError, match=complaint):
        call_command("grant", *asked)
    assert not Balance.objects.filter(account=alice.account).exists()

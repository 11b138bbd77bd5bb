"""What codes give, to whom, how often; and that a refusal gives nothing and tells nothing."""

import io
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.service import ban, lift_bans
from bsod.lib import clock
from bsod.lib.terms import Bucket
from promos.models import Promo, PromoCode, Redemption
from promos.rules import Why
from promos.service import MOST_CODES, Refused, disable, history, make_codes, redeem
from quotas import meter
from quotas.models import Balance, Entry
from tests import kit
from tests.kit import Person
from tests.promos.offers import code, grants, offer, tried

MIX = {"text.base": 1000, "video.sora2": 2, "credits": 50_000}


def test_a_mix_is_granted_with_an_entry_each_and_the_ledger_adds_up(alice: Person) -> None:
    promo, (text,) = offer(grants=MIX, grant_days=30)
    now = clock.now()
    done = redeem(alice.account, text.lower().replace("-", " "), now, via="bot")
    assert dict(done.granted) == MIX
    assert done.expires_at == now + timedelta(days=30)
    rows = Balance.objects.filter(account=alice.account)
    assert {(row.bucket, row.granted, row.used, row.period, row.expires_at) for row in rows} == {
        (bucket, amount, 0, None, done.expires_at) for bucket, amount in MIX.items()
    }
    entries = Entry.objects.filter(account=alice.account, kind="grant")
    assert {(entry.bucket, entry.amount, entry.state) for entry in entries} == {
        (bucket, amount, "settled") for bucket, amount in MIX.items()
    }
    (told,) = history(alice.account)
    assert (told.promo, told.via, told.number, told.granted) == (promo, "bot", 1, MIX)
    assert set(told.balances) == {row.pk for row in rows}
    assert kit.ledger_adds_up(alice)


def test_a_grant_never_expires_unless_the_offer_says_so(alice: Person) -> None:
    assert redeem(alice.account, code(), clock.now()).expires_at is None
    assert Balance.objects.get(account=alice.account).expires_at is None


def test_the_same_code_twice_says_so_and_gives_once(alice: Person, bob: Person) -> None:
    many, single = code(uses=None), code()
    for text in (many, single):
        assert [tried(alice, text) for _ in range(3)] == [None, Why.ALREADY, Why.ALREADY]
    assert grants(alice) == {"image": 20}
    assert tried(bob, many) is None
    assert tried(bob, single) is Why.INVALID


def test_one_user_has_his_share_of_a_batch_and_no_more(alice: Person, bob: Person) -> None:
    promo, texts = offer(count=4, per_user=2)
    assert [tried(alice, text) for text in texts] == [None, None, Why.ALREADY, Why.ALREADY]
    assert tried(bob, texts[0]) is Why.INVALID
    assert tried(bob, texts[3]) is None
    taken = Redemption.objects.filter(promo=promo).order_by("id")
    assert [(row.account_id, row.number) for row in taken] == [
        (alice.account.pk, 1), (alice.account.pk, 2), (bob.account.pk, 1),
    ]  # fmt: skip


def test_a_code_for_first_users_is_for_those_who_have_used_nothing(bob: Person) -> None:
    text = code(uses=None, first_users_only=True)
    fresh, redeemer, user = (kit.person(name) for name in ("fresh", "redeemer", "user"))
    assert tried(redeemer, code()) is None
    given = meter.grant(user.account, Bucket.IMAGE, 5)
    assert tried(bob, text) is None
    meter.correct(user.account, given, 1)
    meter.purge(user.account)
    assert tried(user, text) is Why.NOT_NEW, "a purge makes nobody new"
    assert tried(redeemer, text) is Why.NOT_NEW
    assert tried(fresh, text) is None
    assert tried(fresh, text) is Why.ALREADY


def test_all_codes_that_are_no_good_get_one_answer_at_one_price(alice: Person, bob: Person) -> None:
    now = clock.now()
    used_up, off = code(), code()
    assert tried(bob, used_up) is None
    disable(PromoCode.objects.filter(last4=off[-4:], redeemed=0))
    switched, (of_switched,) = offer()
    disable(Promo.objects.filter(pk=switched.pk))
    bad = [
        "7777-7777-7777-7777", "not a code!", used_up, off, of_switched,
        code(valid_from=now + timedelta(hours=1)),
        code(valid_from=now - timedelta(hours=2), valid_until=now - timedelta(hours=1)),
    ]  # fmt: skip
    seen = set()
    for text in bad:
        with CaptureQueriesContext(connection) as queries:
            why = tried(alice, text)
        kinds = tuple(query["sql"].split(" ", 1)[0] for query in queries.captured_queries)
        seen.add((why, kinds))
    assert {why for why, _ in seen} == {Why.INVALID}
    assert len(seen) == 1, "the same statements, and no lock, whatever is wrong"
    assert {kind for _, kinds in seen for kind in kinds} == {"SELECT"}
    assert grants(alice) == {}


def test_a_code_is_valid_from_its_first_moment_to_before_its_last(alice: Person) -> None:
    start = clock.now() + timedelta(days=1)
    end = start + timedelta(hours=1)
    text, instant = (
        code(valid_from=start, valid_until=end, uses=9, per_user=9),
        timedelta.resolution,
    )
    for moment in (start - instant, end):
        with pytest.raises(Refused, match="invalid"):
            redeem(alice.account, text, moment)
    assert grants(alice) == {}
    for moment in (start, end - instant):
        redeem(alice.account, text, moment)
    assert grants(alice) == {"image": 20}
    with pytest.raises(Refused, match="already"):
        redeem(alice.account, text, end)


def test_who_is_banned_or_switched_off_redeems_nothing(alice: Person, bob: Person) -> None:
    text = code()
    ban(alice.account, "spam")
    assert tried(alice, text) is tried(alice, "7777-7777-7777-7777") is Why.BANNED
    lift_bans(alice.account)
    ban(alice.account, "past", until=clock.now() - timedelta(seconds=1))
    type(bob.account).objects.filter(pk=bob.account.pk).update(is_active=False)
    assert tried(bob, text) is Why.BANNED
    assert grants(bob) == {}
    assert tried(alice, text) is None


def test_the_database_keeps_no_code(alice: Person) -> None:
    promo, texts = offer(count=3)
    redeem(alice.account, texts[0], clock.now())
    rows = [*PromoCode.objects.filter(promo=promo).values(),
            *Redemption.objects.filter(promo=promo).values()]  # fmt: skip
    kept = str(rows)
    for text in texts:
        assert text not in kept
        assert text.replace("-", "")[:12] not in kept
        assert text[-4:] in kept


def test_a_chosen_code_is_one_and_nobody_elses(alice: Person) -> None:
    chosen = kit.unique("hello-world")
    assert offer(chosen=f" {chosen} ")[1] == [chosen]
    for taken in (chosen, chosen.upper().replace("O", "0")):
        with pytest.raises(ValidationError, match="before"):
            offer(chosen=taken)
    with pytest.raises(ValidationError, match="8 to 40"):
        offer(chosen="short")
    with pytest.raises(ValidationError, match="chosen code is one"):
        offer(chosen=kit.unique("two-of-them"), count=2)
    assert tried(alice, chosen.replace("-", "")) is None


@pytest.mark.parametrize(
    "traits",
    [{"grants": {}}, {"grants": {"image": 0}}, {"grants": {"image": -1}}, {"grants": {"nope": 1}},
     {"grants": {"image": True}}, {"grants": {"image": 1.5}}, {"grants": {"image": 10**16}},
     {"grants": [1]}, {"uses": 0}, {"per_user": 0}, {"grant_days": 0}, {"grant_days": 10**6},
     {"valid_until": clock.now() - timedelta(days=1)}, {"count": 0}, {"count": MOST_CODES + 1},
     {"name": ""}],
)  # fmt: skip
def test_an_offer_that_makes_no_sense_is_not_made(traits: dict[str, object]) -> None:
    name = traits.setdefault("name", kit.unique("bad"))
    with pytest.raises(ValidationError):
        offer(**traits)  # type: ignore[arg-type]  # a table
    assert not Promo.objects.filter(name=name).exists()


def test_a_batch_is_made_whole_and_each_code_works_once(alice: Person) -> None:
    promo, texts = offer(count=MOST_CODES, per_user=1)
    assert len(set(texts)) == PromoCode.objects.filter(promo=promo).count() == MOST_CODES
    with pytest.raises(ValueError, match="made with it"):
        make_codes(promo)
    assert tried(alice, texts[-1]) is None


def test_the_tables_themselves_hold_the_limits(alice: Person) -> None:
    promo, (text,) = offer()
    redeem(alice.account, text, clock.now())
    row = PromoCode.objects.get(promo=promo)
    with pytest.raises(IntegrityError), transaction.atomic():
        PromoCode.objects.filter(pk=row.pk).update(redeemed=2)
    with pytest.raises(IntegrityError), transaction.atomic():
        Redemption.objects.create(promo=promo, code=row, account=alice.account, number=1, via="x")


def test_a_failure_half_way_gives_nothing_and_leaves_the_code(alice: Person) -> None:
    """Somebody's row stands where the record would go: what was granted before it is undone."""
    promo, (text,) = offer(grants=MIX, per_user=5)
    row = PromoCode.objects.get(promo=promo)
    Redemption.objects.create(promo=promo, code=row, account=alice.account, number=2, via="x")
    with pytest.raises(IntegrityError):
        redeem(alice.account, text, clock.now())
    assert grants(alice) == {}
    row.refresh_from_db()
    assert row.redeemed == 0
    assert not Entry.objects.filter(account=alice.account).exists()


def test_the_command_prints_codes_that_work(alice: Person) -> None:
    said, name = io.StringIO(), kit.unique("shell")
    call_command("make_codes", name, "--give", "image=3", "--give", "credits=7", "--count", "2",
                 "--grant-days", "9", stdout=said)  # fmt: skip
    first, _ = said.getvalue().split()
    assert tried(alice, first) is None
    assert grants(alice) == {"image": 3, "credits": 7}
    assert history(alice.account)[0].expires_at is not None


@pytest.mark.parametrize(
    "more",
    [["--give", "images=3"], ["--give", "image"], ["--give", "image=-3"], ["--give", "image=0"],
     ["--give", "image=1", "--code", "short"], ["--give", "image=1", "--valid-days", "9" * 9],
     ["--give", "image=1", "--valid-days", "0"], ["--give", "image=1", "--uses", "-1"]],
)  # fmt: skip
def test_the_command_says_what_is_wrong(more: list[str]) -> None:
    name = kit.unique("shell")
    with pytest.raises(CommandError, match=r"\w{5}"):
        call_command("make_codes", name, *more, stdout=io.StringIO())
    assert not Promo.objects.filter(name=name).exists()

"""Who is told what, by which way, and how often it is tried. Mail and Telegram are the wire."""

import json
import logging
import smtplib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
import responses
from django.contrib.auth.models import Permission
from django.core import mail
from django.test import override_settings

from accounts.models import Account
from bsod.lib import clock
from bsod.lib.terms import RestReason
from bsod.notices import collect, post
from bsod.notices.models import Notice
from bsod.notices.topics import Topic
from proxy.models import Rest
from quotas.models import AuditRun
from tests import kit
from tests.accounts.door import member
from tests.upstream import FaultServer

pytestmark = pytest.mark.once  # about mail, not about the database
TOKEN = "123456:" + "t" * 35
CHAT = "-100200300"
URL = f"https://telegram.test/bot{TOKEN}/sendMessage"
LIMIT = {"ok": False, "parameters": {"retry_after": 7200}}


@pytest.fixture
def telegram() -> Iterator[responses.RequestsMock]:
    with (
        override_settings(TELEGRAM_BOT_TOKEN=TOKEN, TELEGRAM_API_BASE="https://telegram.test",
                          ADMIN_TELEGRAM_CHAT=CHAT),
        responses.RequestsMock() as wire,
    ):  # fmt: skip
        yield wire


def staff(*permissions: str) -> Account:
    account = member("guard", mail=True, is_staff=True)
    account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return account


def notice(account: Account | None, topic: Topic = Topic.DRIFT, **facts: Any) -> Notice:
    facts = {"balances": 3, "drift": 1, "id": 1, **facts}
    made: Notice = Notice.objects.create(
        event=kit.unique("event"), account=account, topic=topic, facts=facts
    )
    return made


def tried(row: Notice, seconds: float = 0) -> Notice:
    """The notice after one try, so many seconds later."""
    post.attempt(row, clock.now() + timedelta(seconds=seconds))
    row.refresh_from_db()
    return row


def told(account: Account) -> set[str]:
    return set(Notice.objects.filter(account=account).values_list("topic", flat=True))


def test_a_mail_goes_to_the_confirmed_address_in_the_accounts_language() -> None:
    anna = member("anna", mail=True, language="ru")
    row = tried(notice(anna, Topic.REJECTED, provider="up", last4="wxyz", uid="U1", text="<b>&no"))
    assert (row.tries, row.due_at) == (1, None)
    assert row.sent_at
    (sent,) = mail.outbox
    assert sent.to == [anna.email]
    assert sent.subject.isprintable()
    assert "Your key" not in sent.subject
    # Plain text: what is in it is said as it is.
    assert "<b>&no" in sent.body
    assert "/support/U1/" in sent.body


@pytest.mark.parametrize("topic", Topic)
def test_every_topic_has_its_words(topic: Topic) -> None:
    facts = {"provider": "up", "last4": "wxyz", "uid": "U1", "text": "because", "reason": "auth",
             "key": 7, "id": 7, "balances": 5, "drift": 2}  # fmt: skip
    subject, body = post.written(Notice(topic=topic, facts=facts), "en")
    assert subject.startswith("BSOD: ")
    assert "http://" in body
    assert "None" not in body


def test_nobody_is_written_to_at_an_address_he_has_not_confirmed() -> None:
    stranger = member("stranger")
    stranger.email = "somebody@else.example"
    stranger.save()
    collect.tell(kit.unique("event"), Topic.APPROVED, {}, stranger)
    assert told(stranger) == set()
    assert tried(notice(stranger)).due_at is None
    assert mail.outbox == []


def test_a_notice_is_tried_five_times_ever_later_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise smtplib.SMTPRecipientsRefused({"anna@mail.example": (550, b"no")})

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", away)
    row = notice(member("anna", mail=True))
    pauses = []
    for _ in range(4):
        row = tried(row)
        assert row.due_at
        pauses.append(round((row.due_at - clock.now()).total_seconds() / 60))
    assert pauses == [1, 5, 30, 180]
    row = tried(row)
    assert (row.tries, row.due_at, row.sent_at) == (5, None, None)
    assert "SMTPRecipientsRefused" in caplog.text
    assert "anna" not in caplog.text


def test_a_notice_goes_out_once_though_two_workers_have_it_in_hand() -> None:
    row = notice(member("anna", mail=True))
    same = Notice.objects.select_related("account").get(pk=row.pk)
    assert [post.attempt(one, clock.now()) for one in (row, same)] == [True, False]
    assert len(mail.outbox) == 1


def test_the_admins_chat_hears_it_by_telegram(telegram: responses.RequestsMock) -> None:
    telegram.post(URL, json={"ok": True})
    assert tried(notice(None)).sent_at
    said = json.loads(telegram.calls[0].request.body or b"")
    assert said["chat_id"] == CHAT
    assert "does not add up" in said["text"]


@pytest.mark.parametrize(
    ("answer", "minutes"),
    [
        ({"status": 500}, 1),
        ({"status": 302, "headers": {"Location": "https://elsewhere.test"}}, 1),
        ({"status": 429, "json": LIMIT}, 120),
        ({"body": requests.ConnectionError(f"no way to {URL}")}, 1),
        ({"status": 403, "json": {"description": "bot was blocked"}}, None),
    ],
)
def test_what_telegram_refuses_is_tried_later_or_never_and_its_token_is_told_nobody(
    telegram: responses.RequestsMock, caplog: pytest.LogCaptureFixture,
    answer: dict[str, Any], minutes: int | None,
) -> None:  # fmt: skip
    telegram.post(URL, **answer)
    with caplog.at_level(logging.DEBUG, "bsod"):
        row = tried(notice(None))
    assert row.sent_at is None
    wait = row.due_at and round((row.due_at - clock.now()).total_seconds() / 60)
    assert wait == minutes
    assert "Telegram" in caplog.text or "ConnectionError" in caplog.text
    assert TOKEN not in caplog.text


def test_admins_are_told_once_of_what_they_may_look_at(up: FaultServer) -> None:
    keeper, banker, outsider = staff("view_providerkey"), staff("view_auditrun"), staff()
    gone = staff("view_providerkey")
    Account.objects.filter(pk=gone.pk).update(is_staff=False)
    supplied = kit.supply(up, keys=2)
    key = supplied.key_row()
    rest = Rest.objects.create(provider=supplied.provider, key=key, reason=RestReason.BILLING)
    run = AuditRun.objects.create(balances=3, drift=[{"balance": 1}])
    for _ in range(2):
        collect.collect(clock.now())
    run.delete()
    assert told(keeper) == {Topic.KEY_DISABLED}
    assert told(banker) == {Topic.DRIFT}
    assert told(outsider) == told(gone) == set()
    row = Notice.objects.get(account=keeper, event=f"rest:{rest.pk}:{rest.reason}")
    assert row.facts["last4"] == key.last4
    assert supplied.keys[0] not in json.dumps(row.facts)


def test_a_provider_is_dead_when_its_last_key_is_and_that_is_told_once_an_hour(
    up: FaultServer,
) -> None:
    keeper = staff("view_provider")
    supplied = kit.supply(up, keys=2)
    now = clock.now()

    def rest(number: int) -> Rest:
        made: Rest = Rest.objects.create(
            provider=supplied.provider, key=supplied.key_row(number), reason=RestReason.AUTH,
            created_at=now,
        )  # fmt: skip
        return made

    def dead(minutes: float) -> int:
        collect.collect(now + timedelta(minutes=minutes))
        event = f"provider:{supplied.provider.pk}:"
        return Notice.objects.filter(account=keeper, event__startswith=event).count()

    rest(0)
    assert dead(1) == 0  # the other one lives
    last = rest(1)
    assert dead(0) == 0  # a probe may bring it back at once
    assert dead(1) == dead(2) == 1
    last.delete()
    rest(1)
    assert dead(3) == 1
    assert dead(70) == 2


def test_what_is_old_is_forgotten() -> None:
    row = notice(member("anna", mail=True))
    collect.forget_old(clock.now() + timedelta(days=29))
    assert Notice.objects.filter(pk=row.pk).exists()
    Notice.objects.filter(pk=row.pk).update(created_at=clock.now() - timedelta(days=31))
    collect.forget_old(clock.now())
    assert not Notice.objects.filter(pk=row.pk).exists()

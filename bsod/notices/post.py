"""Sends what the outbox holds: by Telegram where that is set up and linked, else by mail.

A notice is claimed by moving its next try ahead, so that two workers do not send it both; one
that dies in between sends it again. After the last try it stays in the table, unsent.
"""

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException

import requests
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import F
from django.template.loader import render_to_string
from django.utils.translation import override

from accounts.models import Account
from bsod.notices.models import Notice

log = logging.getLogger("bsod.notices")
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 180))
"""Between one try and the next. There are no more tries than these and one."""
AT_ONCE = 20
_LONGEST_TEXT = 4096  # Telegram's


class Undeliverable(Exception):
    """Nobody will ever get it: the next try would end the same way."""


class Later(Exception):
    """Not now; `wait` seconds where the other side has named a time."""

    def __init__(self, why: str, wait: float = 0) -> None:
        super().__init__(why)
        self.wait = wait


def send_due(now: datetime) -> int:
    """Try each notice that is due; returns how many went out."""
    due = Notice.objects.filter(due_at__lte=now).select_related("account").order_by("due_at")
    return sum(attempt(notice, now) for notice in due[:AT_ONCE])


def attempt(notice: Notice, now: datetime) -> bool:
    """Claim it, send it, say what came of it; whether it went out."""
    pause = PAUSES[notice.tries] if notice.tries < len(PAUSES) else None
    mine = Notice.objects.filter(pk=notice.pk, due_at=notice.due_at)
    claim = now + (pause or PAUSES[-1])
    if not mine.update(due_at=claim, tries=F("tries") + 1):
        return False  # another worker's
    row = Notice.objects.filter(pk=notice.pk)
    try:
        deliver(notice)
    except Undeliverable as error:
        log.warning("A notice was given up (%s): %s", notice.topic, error)
        row.update(due_at=None)
    except Later as error:
        log.warning("A notice was not sent (%s): %s", notice.topic, error)
        later = max(claim, now + timedelta(seconds=error.wait))
        row.update(due_at=later if pause else None)
    else:
        row.update(due_at=None, sent_at=now)
        return True
    return False


def deliver(notice: Notice) -> None:
    """Raises Undeliverable or Later. What they say names neither a person nor a secret."""
    account = notice.account
    if account is None:
        _telegram(settings.ADMIN_TELEGRAM_CHAT, "\n\n".join(written(notice, "en")))
        return
    if not account.is_active:
        raise Undeliverable("the account is closed")
    language = account.language or settings.LANGUAGE_CODE
    chat = telegram_id_of(account) if settings.TELEGRAM_BOT_TOKEN else None
    if chat is not None:
        _telegram(str(chat), "\n\n".join(written(notice, language)))
    else:
        _mail(account, *written(notice, language))


def written(notice: Notice, language: str) -> tuple[str, str]:
    """Subject and text in a language. The first line of a template is the subject."""
    with override(language):
        text = render_to_string(
            f"mail/{notice.topic}.txt", {**notice.facts, "site": settings.SITE_URL}
        )
    subject, _end, body = text.strip().partition("\n")
    return f"BSOD: {subject.strip()}", body.strip()


def reachable(account: Account) -> bool:
    """Whether there is any way to tell this account something."""
    by_chat = bool(settings.TELEGRAM_BOT_TOKEN) and telegram_id_of(account) is not None
    return by_chat or mail_of(account) is not None


def telegram_id_of(account: Account) -> int | None:
    """The linked Telegram account. None can be linked before there is the bot."""
    return None


def mail_of(account: Account) -> str | None:
    """Only an address its owner has confirmed: any other may be somebody else's."""
    rows = EmailAddress.objects.filter(user=account, verified=True).order_by("-primary", "pk")
    found: str | None = rows.values_list("email", flat=True).first()
    return found


# ---- the two ways


def _mail(account: Account, subject: str, text: str) -> None:
    address = mail_of(account)
    if address is None:
        raise Undeliverable("no confirmed address")
    try:
        EmailMessage(subject, text, to=[address]).send()
    except (SMTPException, OSError) as error:
        # What a server says of a mail may name its address.
        raise Later(type(error).__name__) from None


def _telegram(chat: str, text: str) -> None:
    if not (settings.TELEGRAM_BOT_TOKEN and chat):
        raise Undeliverable("Telegram is not set up any more")
    url = f"{settings.TELEGRAM_API_BASE}/bot{settings.TELEGRAM_BOT_TOKEN}/sendMessage"
    said = {"chat_id": chat, "text": text[:_LONGEST_TEXT]}
    try:
        answer = requests.post(url, json=said, timeout=(5, 10), allow_redirects=False)
    except requests.RequestException as error:
        # The error's own text has the URL in it, and that has the token.
        raise Later(type(error).__name__) from None
    if answer.status_code in (400, 403):
        raise Undeliverable(f"Telegram answered {answer.status_code}")
    if answer.status_code != 200:
        raise Later(f"Telegram answered {answer.status_code}", _asked(answer))


def _asked(answer: requests.Response) -> float:
    """The seconds a 429 names."""
    try:
        return float(answer.json()["parameters"]["retry_after"])
    except (ValueError, KeyError, TypeError):
        return 0.0

"""One user, as the page about him shows: what is left, used and held, and what was done to him.

Every number is of the readers that the console has it from. A panel is left out for staff who may
not view its rows; nothing here is a secret or the mark of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils.html import format_html

from accounts.audit import name_people
from accounts.browsers import browser_of
from accounts.flows.find_ban import find_ban
from accounts.flows.sign_out import sessions_of
from accounts.keys.models import ApiKey
from accounts.models import Account, AuditEvent, Ban
from bsod.backstage.panels import listed
from bsod.console.keyrows import DAYS, Bars, bars, days_to, rows_of
from bsod.console.quota import Card, Wallet, wallet
from bsod.lib.terms import Bucket
from quotas.models import USER, Balance
from quotas.usage import Span, used

MOST = 20  # rows of a table; the list behind it has them all


@dataclass(frozen=True, slots=True)
class Panel:
    """A table. `more`: the list behind it."""

    title: str
    table: dict[str, Any]
    more: str = ""
    none: str = ""

    @property
    def empty(self) -> bool:
        return not self.table["rows"]


@dataclass(frozen=True, slots=True)
class Person:
    account: Account
    wallet: Wallet
    used: Sequence[Bars]
    panels: Sequence[Panel]
    ban: Ban | None
    links: Sequence[tuple[str, str]]

    @property
    def cards(self) -> list[Card]:
        return [*self.wallet.wide, *self.wallet.small]


def about(account: Account, now: datetime, viewer: Any) -> Person:
    known = [(_keys, "keys.view_apikey"), (_grants, "quotas.view_balance"),
             (_bans, "accounts.view_ban"), (_sessions, "accounts.change_account"),
             (_events, "accounts.view_auditevent")]  # fmt: skip
    panels = [panel(account, now) for panel, permission in known if viewer.has_perm(permission)]
    return Person(account, wallet(account, now), _used(account, now), panels, find_ban(account),
                  _links(account))  # fmt: skip


def _used(account: Account, now: datetime) -> list[Bars]:
    """The days of each bucket of which anything was used."""
    days = days_to(now.date(), DAYS)
    amounts: dict[str, dict[str, int]] = {}
    for row in used(account.pk, Span(days[0], days[-1])):
        amounts.setdefault(row.bucket, {})[str(row.day)] = row.amount
    return [bars(bucket, days, amounts[bucket]) for bucket in Bucket if bucket in amounts]


def _links(account: Account) -> list[tuple[str, str]]:
    name = account.get_username()
    return [
        (text, listed(model, account=name))
        for text, model in (("Entries", "quotas_entry"), ("Balances", "quotas_balance"))
    ]


# ---- the panels


def _keys(account: Account, now: datetime) -> Panel:
    rows = rows_of(account, list(ApiKey.objects.filter(account=account)[:MOST]), now)
    cells = [
        [_link("keys_apikey", row.key.pk, row.shown),
         "console (hidden)" if row.key.console else row.key.name, row.state,
         f"{row.today.used:,} {row.today.look.name}", _when(row.key.last_used_at)]
        for row in rows
    ]  # fmt: skip
    table = {"headers": ["Key", "Name", "State", "Today", "Last used"], "rows": cells}
    return Panel("API keys", table, listed("keys_apikey", account=account.get_username()))


def _grants(account: Account, now: datetime) -> Panel:
    rows = Balance.objects.filter(account=account, owner=USER, period=None).order_by("-pk")[:MOST]
    cells = [
        [row.bucket, f"{row.granted or 0:,}", f"{row.used:,}", _when(row.created_at),
         _when(row.expires_at) if row.expires_at else "never"]
        for row in rows
    ]  # fmt: skip
    return Panel("Grants", {"headers": ["Bucket", "Given", "Used", "At", "Expires"], "rows": cells})


def _bans(account: Account, now: datetime) -> Panel:
    rows = account.bans.select_related("created_by")[:MOST]
    cells = [
        [row.reason, "stands" if row.stands(now) else "over", _when(row.created_at),
         _when(row.until) if row.until else "for good", _when(row.lifted_at),
         row.created_by or "–"]
        for row in rows
    ]  # fmt: skip
    headers = ["Reason", "State", "At", "Until", "Lifted", "By"]
    return Panel("Bans", {"headers": headers, "rows": cells})


def _sessions(account: Account, now: datetime) -> Panel:
    cells = [
        [browser_of(row.user_agent), row.ip, _when(row.created_at), _when(row.last_seen_at)]
        for row in sessions_of(account)[:MOST]
    ]
    headers = ["Browser", "Address", "Signed in", "Last seen"]
    return Panel("Sessions", {"headers": headers, "rows": cells})


def _events(account: Account, now: datetime) -> Panel:
    kind = account._meta.label_lower
    rows = AuditEvent.objects.filter(target_kind=kind, target_id=str(account.pk))
    events = list(rows.order_by("-at")[:MOST])
    name_people(events)
    cells = [[_when(row.at), row.actor_name or "–", row.verb, row.reason] for row in events]
    return Panel(
        "What admins did",
        {"headers": ["At", "Who", "What", "Reason"], "rows": cells},
        listed("accounts_auditevent", target_kind__exact=kind, target_id__exact=account.pk),
    )


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "–"


def _link(model: str, pk: int, text: str) -> str:
    address = reverse(f"admin:{model}_change", args=[pk])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
                       address, text)  # fmt: skip

"""The first page of the admin: how everything is at this moment, and what waits for somebody.

Each panel is for those who may view what it is made of; who may not does not see that it is there.
What needs a hand stands first, as sentences. Numbers lead to the rows behind them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.http import HttpRequest

from bsod import __version__
from bsod.backstage import panels
from bsod.backstage.panels import listed
from bsod.lib import clock

SPANS = {"today": (1, "Today"), "7d": (panels.DAYS, "7 days")}
"""For who and what was busiest: UTC days, the last of them today."""
MAY_AUDIT = "quotas.add_auditrun"


class Panel(NamedTuple):
    """`make` gets the moment; those of `since` when the first day began that is asked for."""

    name: str
    needs: tuple[str, ...]
    make: Callable[[Any], Any]
    since: bool = False


PANELS = (
    Panel("traffic", ("proxy.view_stat",), panels.traffic),
    Panel("pool", ("proxy.view_providerkey",), panels.pool),
    Panel("flight", ("quotas.view_entry",), panels.in_flight),
    Panel("audit", ("quotas.view_auditrun",), panels.audit),
    Panel("shortfall", ("quotas.view_entry",), panels.shortfall),
    Panel("donations", ("donations.view_donation",), panels.donations),
    Panel("users", ("accounts.view_account",), panels.users),
    Panel("bans", ("accounts.view_ban",), panels.bans),
    Panel("running", ("quotas.view_process",), panels.running),
    Panel(
        "busiest_users", ("quotas.view_usageday", "accounts.view_account"), panels.busiest_users,
        since=True,
    ),
    Panel("busiest_models", ("quotas.view_usageday",), panels.busiest_models, since=True),
)  # fmt: skip


class Alert(NamedTuple):
    """Something somebody should look at; `look` is `bad` or `so-so`."""

    look: str
    words: str
    link: str


def callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What unfold asks for (`DASHBOARD_CALLBACK`)."""
    return context | board(request)


def board(request: HttpRequest) -> dict[str, Any]:
    now = clock.now()
    span = request.GET.get("span", "")
    span = span if span in SPANS else "today"
    first = panels.first_day(now, SPANS[span][0])
    shown = {
        panel.name: panel.make(first if panel.since else now)
        for panel in PANELS
        if request.user.has_perms(panel.needs)
    }
    return {
        "panels": shown,
        "alerts": list(alerts(shown)),
        "checked": now,
        "span": span,
        "spans": [(name, words) for name, (_, words) in SPANS.items()],
        "may_audit": request.user.has_perm(MAY_AUDIT),
        "version": __version__,
    }


def alerts(shown: dict[str, Any]) -> Iterator[Alert]:
    """What needs a hand, the worst first."""
    audit, running, waiting = (shown.get(name) for name in ("audit", "running", "donations"))
    if audit and audit.red:
        words = f"The ledger does not add up: {_many(len(audit.run.drift), 'balance')} drifted."
        yield Alert("bad", words, listed("quotas_auditrun"))
    if running and running.late:
        words = f"was last seen {running.seen} ago" if running.seen else "has never been seen"
        yield Alert("bad", f"The worker {words}: nothing is probed, no job ends.", running.link)
    for provider in shown.get("pool", ()):
        if not (provider.up or provider.locked):
            yield Alert("bad", f"{provider.slug} does not answer: {provider.why}.", provider.link)
    for span in shown.get("traffic", ())[:1]:
        if span.ill:
            yield Alert("bad", f"Only {span.answered} of calls were answered in 24 h.", span.link)
    if audit and audit.late and not (running and running.late):
        words = f"was last added up {audit.ago} ago" if audit.run else "was never added up"
        yield Alert("so-so", f"The ledger {words}.", listed("quotas_auditrun"))
    if waiting and waiting.count:
        words = (
            f"{_many(waiting.count, 'donated key')} to decide on, the oldest {waiting.oldest} old."
        )
        yield Alert("so-so", words, waiting.link)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

"""The sidebar: every list of the admin, in the order in which work is done.

One table, by the models' labels. What a person may not view he does not see; a model that the
table forgets stands at its end, so that none is lost.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.http import HttpRequest
from django.urls import reverse

GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("People", (
        ("Users", "person", "accounts.account"),
        ("API keys", "key", "keys.apikey"),
        ("Bans", "block", "accounts.ban"),
        ("Plans", "sell", "accounts.plan"),
        ("Groups", "groups", "auth.group"),
    )),
    ("Promo codes and donations", (
        ("Offers", "redeem", "promos.promo"),
        ("Codes", "confirmation_number", "promos.promocode"),
        ("Redemptions", "task_alt", "promos.redemption"),
        ("Donations", "volunteer_activism", "donations.donation"),
    )),
    ("Pool", (
        ("Providers", "dns", "proxy.provider"),
        ("Provider keys", "vpn_key", "proxy.providerkey"),
        ("Rests", "bedtime", "proxy.rest"),
        ("Incidents", "campaign", "incidents.incident"),
    )),
    ("Catalogue", (
        ("Models", "view_list", "proxy.model"),
        ("Offers of providers", "storefront", "proxy.offer"),
    )),
    ("Ledger", (
        ("Entries", "receipt_long", "quotas.entry"),
        ("Reservations", "hourglass_top", "quotas.reservation"),
        ("Balances", "account_balance_wallet", "quotas.balance"),
        ("Grants", "card_giftcard", "quotas.grant"),
        ("Usage by day", "bar_chart", "quotas.usageday"),
        ("Processes", "memory", "quotas.process"),
        ("Ledger audits", "fact_check", "quotas.auditrun"),
    )),
    ("Audit", (
        ("Audit log", "history", "accounts.auditevent"),
        ("Notices", "mail", "notices.notice"),
    )),
)  # fmt: skip


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """unfold's groups of links, for the person who asks."""
    pages = {page.opts.label_lower: page for page in admin.site._registry.values()}
    named = {label for _, rows in GROUPS for _, _, label in rows}
    home = {"title": "Overview", "icon": "monitoring", "link": reverse("admin:index")}
    groups = [{"title": "", "items": [home]}]
    for title, rows in (*GROUPS, ("More", _forgotten(pages, named))):
        items = [
            {"title": name, "icon": icon, "link": _list_of(pages[label])}
            for name, icon, label in rows
            if label in pages and pages[label].has_view_permission(request)
        ]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _forgotten(
    pages: "dict[str, ModelAdmin[Any]]", named: set[str]
) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (str(page.opts.verbose_name_plural).capitalize(), "table_rows", label)
        for label, page in pages.items()
        if label not in named
    )


def _list_of(page: "ModelAdmin[Any]") -> str:
    return reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_changelist")

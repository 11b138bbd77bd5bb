"""Django's URLs: admin, docs, and the JSON routes that `proxy/routes.py` gives to this plane."""

from django.contrib import admin
from django.urls import include, path

from bsod.api import Balance
from bsod.backstage import lists
from bsod.backstage.routes_audit import audit_ledger
from bsod.backstage.routes_donations import donations
from bsod.backstage.routes_people import ban_unlock, users
from bsod.backstage.routes_pool import recheck_keys
from bsod.backstage.routes_promos import promocodes
from bsod.catalog import Catalog
from bsod.console import (
    guide,
    home,
    install,
    keys,
    llms,
    models,
    people,
    playground,
    playpage,
    support,
    usage,
)
from bsod.console.docs import reference
from bsod.monitoring import Health, Metrics, Raw, Status
from promos.views import RedeemCode

lists.settle()
urlpatterns = [
    path("", home.home),
    path("access/", keys.access),
    path("access/new/", keys.new),
    path("access/<int:number>/", keys.edit),
    path("create-key/", keys.create_key),
    path("key-action/", keys.key_action),
    path("support/", support.support),
    path("support/<str:uid>/", support.one),
    path("support/<str:uid>/withdraw/", support.ask_again),
    path("donate-key/", support.donate_key, name="donate_key"),
    path("donation-action/", support.donation_action, name="donation_action"),
    path("models/", models.models),
    path("docs/", guide.guide),
    path("docs/api/", reference),
    path("docs/<slug:slug>/", guide.guide),
    path("llms.txt", llms.llms),
    path("manifest.webmanifest", install.manifest),
    path("favicon.ico", install.favicon),
    path("robots.txt", install.robots),
    path("", include("accounts.urls")),
    path("account/export/", people.export, name="account_export"),
    path("account/delete/", people.delete, name="account_delete"),
    path("admin/audit-ledger/", audit_ledger, name="audit_ledger"),
    path("admin/recheck-keys/", recheck_keys, name="recheck_keys"),
    path("admin/users/", users, name="admin_users"),
    path("admin/donations/", donations, name="admin_donations"),
    path("admin/ban-unlock/", ban_unlock, name="ban_unlock"),
    path("admin/promocodes/", promocodes, name="admin_promocodes"),
    path("admin/", admin.site.urls),
    path("balance/", Balance.as_view()),
    path("key-info/", Balance.as_view()),
    path("usage/", usage.usage),
    path("playground/", playpage.page),
    path("playground/catalog/", playpage.catalog),
    path("playground/quota/", playpage.left),
    path("playground/receipt/", playpage.receipt),
    path("playground/submit/", playpage.submit),
    path("playground/run/", playground.run),
    path("playground/live-session/", playground.live_session),
    path("playground/video-status/", playground.video_status),
    path("catalog/", Catalog.as_view()),
    path("status/", Status.as_view()),
    path("status/raw/", Raw.as_view()),
    path("health/", Health.as_view()),
    path("metrics/", Metrics.as_view()),
    path("redeem-code/", RedeemCode.as_view(), name="redeem_code"),
]

handler400 = "bsod.console.errors.bad_request"
handler403 = "bsod.console.errors.forbidden"
handler404 = "bsod.console.errors.not_found"
handler500 = "bsod.console.errors.broken"

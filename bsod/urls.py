"""Django's URLs: admin, docs, and the JSON routes that `proxy/routes.py` gives to this plane."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from bsod.api import Balance
from bsod.catalog import Catalog
from bsod.console.docs import reference
from bsod.monitoring import Health, Metrics, Raw, Status
from bsod.throttle import AdminLogin
from bsod.usage import Usage

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/login/", AdminLogin.as_view(), name="throttled_login"),
    path("admin/", admin.site.urls),
    path("balance/", Balance.as_view()),
    path("key-info/", Balance.as_view()),
    path("usage/", Usage.as_view()),
    path("catalog/", Catalog.as_view()),
    path("status/", Status.as_view()),
    path("status/raw/", Raw.as_view()),
    path("health/", Health.as_view()),
    path("metrics/", Metrics.as_view()),
    path("docs/api/", reference),
]

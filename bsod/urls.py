"""Django's URLs: admin, docs, and the JSON routes that `proxy/routes.py` gives to this plane."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from bsod.api import Balance
from bsod.console.docs import reference
from bsod.throttle import AdminLogin
from bsod.usage import Usage
from promos.views import RedeemCode

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/login/", AdminLogin.as_view(), name="throttled_login"),
    path("admin/", admin.site.urls),
    path("balance/", Balance.as_view()),
    path("key-info/", Balance.as_view()),
    path("usage/", Usage.as_view()),
    path("docs/api/", reference),
    path("redeem-code/", RedeemCode.as_view(), name="redeem_code"),
]

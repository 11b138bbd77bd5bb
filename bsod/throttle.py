"""The admin's sign-in, with guessing made slow: by name and by address."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.generic import View
from django_ratelimit.core import is_ratelimited

RATES = (("post:username", "5/m"), ("ip", "20/m"))


class AdminLogin(View):
    """`/admin/login/`: Django's own view behind a counter of tries."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        limited = [
            is_ratelimited(
                request, group="admin-login", key=key, rate=rate, method="POST", increment=True
            )
            for key, rate in RATES
        ]
        if any(limited):
            answer = HttpResponse(
                "Too many tries. Next one in 60 s.", status=429, content_type="text/plain"
            )
            answer["Retry-After"] = "60"
            return answer
        return admin.site.login(request)

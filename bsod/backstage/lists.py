"""Which lists of others' apps the admin has: none that shows a secret.

allauth registers its own models by itself: the seeds of second factors, the keys in mails, whole
sessions. What of them an admin needs stands on the page of its user.
"""

import contextlib

from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group

from accounts import admin_audit  # noqa: F401  # registers the audit log
from accounts.staff import StaffAdmin

_FOREIGN = ("account", "mfa", "usersessions", "socialaccount", "sessions")


class Groups(StaffAdmin, GroupAdmin):  # type: ignore[misc]  # unfold has no types
    """Bundles of permissions, for staff who do one thing."""


def settle() -> None:
    """Read every app's `admin.py`, and take away what has no place here."""
    admin.autodiscover()
    for model in [one for one in admin.site._registry if one._meta.app_label in _FOREIGN]:
        admin.site.unregister(model)
    with contextlib.suppress(NotRegistered):
        admin.site.unregister(Group)
    admin.site.register(Group, Groups)

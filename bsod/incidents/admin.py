"""Notes for the status page: written, changed and taken away here, each time with a record."""

from django.contrib import admin

from accounts.staff import StaffAdmin
from bsod.incidents.models import Incident


@admin.register(Incident)
class IncidentAdmin(StaffAdmin):
    list_display = ("title", "state", "provider", "began_at", "ended_at")
    list_filter = ("state",)
    list_select_related = ("provider",)
    ordering = ("-began_at", "-pk")
    fields = ("title", "text", "state", "provider", "began_at", "ended_at")

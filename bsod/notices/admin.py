"""What was sent to whom, or could not be: for reading, so that a dead mail server is seen."""

from django.contrib import admin

from accounts.staff import ReadOnlyAdmin
from bsod.notices.models import Notice


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "topic", "account", "tries", "due_at", "sent_at")
    list_filter = ("topic", ("sent_at", admin.EmptyFieldListFilter))
    list_select_related = ("account",)
    search_fields = ("=account__username",)
    fields = ("created_at", "topic", "account", "facts", "tries", "due_at", "sent_at")

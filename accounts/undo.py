"""A page that is only for reading, with one thing to do: what the list's own action does to a row.

The button sends the list's action with this row chosen, so that there is one way to do it.
"""

from typing import Any

from django.http import HttpRequest


class Undoing:
    """Before a ModelAdmin whose rows are ended once and for all, with a reason."""

    undo_action = ""
    undo_label = ""
    undo_field = ""
    """Empty in a row: it has not been ended."""
    change_form_outer_before_template = "admin/people/undo.html"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **more: Any
    ) -> Any:
        page: Any = self
        row = more.get("obj")
        if row is not None and page.has_change_permission(request):
            context["undo"] = getattr(row, self.undo_field) is None
        own: Any = super()
        return own.render_change_form(request, context, *args, **more)

"""What the project's commands have in common."""

from django.core.checks import Tags
from django.core.management.base import BaseCommand


class ProjectCommand(BaseCommand):
    """Checks what an operator may have got wrong, not the whole project: for that Django would read
    every page first, which takes longer than the command itself."""

    requires_system_checks = (Tags.security,)

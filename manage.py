#!/usr/bin/env python3
"""Django's command line: `manage.py help` lists what an operator can do from a shell."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"BSOD cannot start: {error}")
    except OperationalError as error:
        sys.exit(f"The database cannot be used: {str(error).strip()}")


if __name__ == "__main__":
    main()

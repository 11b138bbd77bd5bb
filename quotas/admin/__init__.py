"""The ledger in the admin: to be read, at a million rows. Corrections are entries of their own."""

from quotas.admin import balances, entries, runs

__all__ = ["balances", "entries", "runs"]

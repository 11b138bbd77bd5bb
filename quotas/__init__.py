"""The ledger: buckets, balances, entries, and every number shown about them."""

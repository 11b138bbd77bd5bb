"""People: accounts, plans, bans, and in `keys` the API keys they hold."""

"""Providers, their keys and rests, and the catalogue in the admin. What is done there is done by
`proxy/tending.py` and `proxy/rechecks.py`; here it is shown, asked for and told."""

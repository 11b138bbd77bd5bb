"""The suite. It mirrors the packages; `kit.py` has the people, `upstream/` the provider."""

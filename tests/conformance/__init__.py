"""`make conformance`: OpenAI's own suite of its Python client, against OpenAI's own mock, twice.

Once straight and once through a running gateway, which must make no difference. `suite` runs the
client's tests, `relay` watches the wire, `compare` says what differs, `ledger` counts the calls.
"""

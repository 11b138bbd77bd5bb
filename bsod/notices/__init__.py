"""What donors and admins are told by mail or Telegram, at least once, whatever dies meanwhile.

Nobody who changes something sends anything: rows that say what happened (a donation's events, a
key's rest, a run of the audit) are written in the transaction of the event. The worker collects
them (`collect.py`) into one `Notice` for each person, and sends those (`post.py`), each a handful
of times at most. A mail server that is away holds up neither a page nor a call.
"""

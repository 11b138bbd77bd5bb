"""The calls on the wire against the ledger: `python -m tests.conformance.ledger CALLS`.

Runs in a process of its own, on the database of the gateway that has just been stopped. Every
answered call of a route that costs must have its entry, under the id its answer named, and every
entry must be a call somebody saw. Prints its findings as JSON.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.conformance.relay import Call


def findings(calls: list[Call]) -> dict[str, Any]:
    from proxy.matching import match
    from proxy.route import Close
    from quotas.models import Entry

    mine = Entry.objects.filter(kind="call")
    entries = dict(mine.values_list("id", "state"))
    jobs = Counter(mine.filter(state="open").values_list("route", flat=True))
    counted, unrouted, lost, nowhere = Counter[str](), Counter[str](), [], []
    seen = set[str]()
    for call in calls:
        route = match(call.method, call.path.encode("latin-1"), call.query.encode("latin-1")).route
        if call.request_id in entries:
            counted["entered"] += 1
            if call.request_id in seen:
                lost.append(f"two calls under one entry: {call.request_id}")
            seen.add(call.request_id)
        elif route is not None and route.close is Close.FREE:
            counted["free"] += 1
        elif call.status >= 400:
            # Refused before anything was drawn, or a route that is not there.
            counted["refused"] += 1
            counted[f"of them {call.status}"] += 1
            if route is None:
                unrouted[f"{call.status} {call.method} {call.path}"] += 1
                nowhere.append(call.request_id)
        elif call.status:
            lost.append(f"{call.status} {call.method} {call.target} {call.request_id}")
        else:
            counted["never answered"] += 1
    unseen = sorted(set(entries) - seen)
    states = Counter(entries.values())
    return {
        "open": jobs, "counted": counted, "states": states, "unrouted": unrouted, "lost": lost,
        "unseen": unseen, "nowhere": nowhere,
    }  # fmt: skip


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")
    import django

    django.setup()
    calls = [Call(*row) for row in json.loads(Path(sys.argv[1]).read_text())]
    print(json.dumps(findings(calls)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

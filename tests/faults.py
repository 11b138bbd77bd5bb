"""`make faults`: every way a provider's key or host can fail, made to happen, as a table.

    python -m tests.faults            # all of them, on SQLite; some seconds
    python -m tests.faults 429        # those whose name says so

A real gateway calls a provider that really fails (`tests/upstream`), for each fault twice: with
nobody else to ask, and with one more key, or host, that works. What the client got, how often was
tried, what the pool has learnt and what the ledger says stands beside what is expected (SECURITY
§3.4); one difference, and the exit code is 1. The suite runs the same list
(`tests/proxy/gateway/test_fault_matrix.py`).
"""

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import wraps
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

if TYPE_CHECKING:
    from quotas.models import Entry
    from tests.faultlist import Fault
    from tests.kit import Person, Site, Supply
    from tests.rawclient import Reply
    from tests.upstream import FaultServer
    from tests.upstream.tls import TlsHosts

SILENCE = 2.0
P = ParamSpec("P")
T = TypeVar("T")
TIMES = {
    "STREAM_SILENCE": str(SILENCE), "CALL_SILENCE": str(SILENCE), "CONNECT_TIMEOUT": "2",
    "FIRST_PROBE": "5", "KEEPALIVE_EVERY": "15",
}  # fmt: skip
"""Silences are short here; probes come as they do in production."""
AT_ONCE = 8


class Outcome(NamedTuple):
    """What came of a fault, in the words of the table."""

    client: str
    attempts: int
    pool: str
    ledger: str
    spare: str


@dataclass(frozen=True)
class Result:
    fault: "Fault"
    found: Outcome

    @property
    def differs(self) -> list[str]:
        """The columns that are not as expected."""
        pairs = zip(Outcome._fields, self.found, self.fault.expected, strict=True)
        return [f"{name}: {found!r}, not {wanted!r}" for name, found, wanted in pairs
                if not _same(str(found), str(wanted))]  # fmt: skip


_WAIT = re.compile(r"(.*?)(\d+) s")


def _same(found: str, wanted: str) -> bool:
    """Whether a column says what is expected, or that a moment later: of a wait a second or two may
    have gone by, and a date has no more than seconds."""
    a, b = _WAIT.fullmatch(found), _WAIT.fullmatch(wanted)
    if a is None or b is None:
        return found == wanted
    return a[1] == b[1] and 0 <= int(b[2]) - int(a[2]) <= 2


@dataclass(frozen=True)
class Stage:
    """Where faults happen: a gateway, hosts with and without good certificates, and clients."""

    site: "Site"
    hosts: "TlsHosts"
    people: "list[Person]"


@contextlib.contextmanager
def stage() -> "Iterator[Stage]":
    from tests import kit
    from tests.faultlist import FAULTS
    from tests.upstream import FaultServer
    from tests.upstream.tls import TlsHosts

    with (
        tempfile.TemporaryDirectory(prefix="bsod-tls-") as folder,
        FaultServer() as behind,
        TlsHosts(Path(folder), behind.port) as hosts,
    ):
        people = [kit.person("client") for _ in range(max(fault.calls for fault in FAULTS))]
        site = kit.launch(1, **TIMES, SSL_CERT_FILE=str(hosts.trust))
        try:
            yield Stage(site, hosts, people)
        finally:
            site.stop(9)


def run(on: Stage, faults: "Sequence[Fault]") -> list[Result]:
    """Make each of them happen, several at a time: they share gateway and clients, no provider."""
    # What takes long begins first.
    order = sorted(faults, key=lambda fault: fault.kind != "silent")
    with ThreadPoolExecutor(AT_ONCE) as threads:
        spared = {fault.name: threads.submit(_spared, on, fault) for fault in order}
        alone = {fault.name: threads.submit(_alone, on, fault) for fault in order}
        return [
            Result(fault, Outcome(*alone[fault.name].result(), spared[fault.name].result()))
            for fault in faults
        ]


def _apart(happen: "Callable[P, T]") -> "Callable[P, T]":
    """In a thread of its own, which leaves no connection behind."""

    @wraps(happen)
    def run(*args: "P.args", **kwargs: "P.kwargs") -> "T":
        from django.db import connection

        try:
            return happen(*args, **kwargs)
        finally:
            connection.close()

    return run


@_apart
def _alone(on: Stage, fault: "Fault") -> tuple[str, int, str, str]:
    """Nobody else has the model. Each call is somebody else's: nobody comes back to his key."""
    from tests import kit
    from tests.rawclient import chat_once
    from tests.upstream import FaultServer

    with FaultServer() as up:
        supplied = _supply(on, up, fault, fault.keys, fault.keys)
        for who in on.people[: fault.calls]:
            reply = chat_once(on.site, who, kit.ask(supplied, stream=fault.stream))
        _forget(supplied)
        entry = _entry(reply)
        paid = "what came" if 0 < entry.amount < entry.estimate else str(entry.amount)
        ledger = f"{entry.state} {paid}, {entry.end_reason}"
        return said(reply), entry.attempts, learnt(supplied), ledger


@_apart
def _spared(on: Stage, fault: "Fault") -> str:
    """There is another key that works; of a host that fails another host."""
    from tests import kit
    from tests.rawclient import chat_once
    from tests.upstream import FaultServer

    with FaultServer() as up, FaultServer() as other:
        supplied = _supply(on, up, fault, 1 if fault.host else 2, 1)
        if fault.host:
            second = kit.supply(other)
            _moves_in(second, supplied.model)
        reply = chat_once(on.site, on.people[0], kit.ask(supplied, stream=fault.stream))
        _forget(supplied)
        return f"{said(reply)} at attempt {_entry(reply).attempts}"


def _entry(reply: "Reply") -> "Entry":
    """The ledger's entry of a call: closed before its answer has ended."""
    from quotas.models import Entry

    return Entry.objects.get(id=reply.header("x-request-id"))


def _supply(on: Stage, up: "FaultServer", fault: "Fault", keys: int, failing: int) -> "Supply":
    """A provider whose first so many keys fail like that."""
    from tests import kit

    base = fault.host if "/" in fault.host else up.base_url
    if fault.host in on.hosts.kinds:
        base = on.hosts.base_url(fault.host)
    supplied = kit.supply(up, keys=keys, base_url=base)
    if fault.host == "gone":
        up.stop()
    for number in range(failing):
        if fault.answer is None:
            fault.spoil(supplied.key_row(number))
        else:
            up.on(fault.answer, key=supplied.keys[number])
    return supplied


def _forget(supplied: "Supply") -> None:
    """Every change makes every process read the whole pool: it is kept small."""
    from bsod.lib import clock
    from proxy.models import Provider

    rows = Provider.objects.filter(offers__model__name=supplied.model)
    Provider.objects.filter(pk__in=list(rows.values_list("pk", flat=True))).update(
        deleted_at=clock.now()
    )


def _moves_in(supplied: "Supply", model: str) -> None:
    """Let another provider serve this model."""
    from proxy.models import Model, Offer
    from proxy.pool import bump

    offers = Offer.objects.filter(provider=supplied.provider)
    offers.update(model=Model.objects.get(name=model), upstream_id=model)
    bump()


def said(reply: "Reply") -> str:
    """What a client was told: status and code, an error behind the beginning of a stream, and
    when to come again."""
    if reply.status == 200:
        events = [e for e in reply.body.split(b"\n\n") if e.startswith(b'data: {"error"')]
        then = f", then {json.loads(events[0][6:])['error']['code']}" if events else ""
        return f"200{then}"
    again = reply.header("retry-after")
    return f"{reply.status} {reply.error['code']}" + (f", again in {again} s" if again else "")


def learnt(supplied: "Supply") -> str:
    """What the pool knows of the provider and its keys now."""
    from proxy.models import Provider, ProviderKey, Rest

    words: Counter[str] = Counter()
    rests = Rest.objects.filter(provider=supplied.provider).order_by("id")
    for rest in rests:
        scope = "key and model" if rest.model else "key" if rest.key_id else "provider"
        ends = rest.until or rest.probe_at
        assert ends is not None
        seconds = ceil((ends - rest.created_at).total_seconds())
        words[f"{scope} rests, {rest.reason}, {'probe in ' * (not rest.until)}{seconds} s"] += 1
    resting = {rest.key_id for rest in rests}
    for key in ProviderKey.objects.filter(provider=supplied.provider):
        if key.failures and key.pk not in resting:
            words[f"{key.failures} in a row"] += 1
    failures = Provider.objects.get(pk=supplied.provider.pk).failures
    if failures and None not in resting:
        words[f"provider: {failures} in a row"] += 1
    told = [f"{count} × {word}" if count > 1 else word for word, count in words.items()]
    return "; ".join(told) or "nothing"


# ---- the command


def main() -> int:
    import tests.environment  # noqa: F401  # the settings of the suite, before Django reads any

    with tempfile.TemporaryDirectory(prefix="bsod-faults-") as folder:
        os.environ |= {"DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "bsod.settings"}
        os.environ.pop("DATABASE_URL", None)
        import django
        from django.core.management import call_command

        django.setup()
        logging.disable(logging.WARNING)
        call_command("migrate", verbosity=0)
        return _report(sys.argv[1:])


def _report(words: Sequence[str]) -> int:
    from proxy.failures import KINDS, RULES
    from tests.faultlist import FAULTS

    wanted = [fault for fault in FAULTS if all(word in fault.name for word in words)]
    rows = [
        [kind.name, kind.shows, str(kind.blame), *(rule.words if rule else ("nothing", "", ""))]
        for kind in KINDS
        for rule in [RULES.get(kind.blame)]
    ]
    table(["kind", "how it shows", "verdict", "what rests", "how long", "ended by"], rows)
    with stage() as on:
        results = run(on, wanted)
    head = ["fault", "kind", "client, nobody else there", "attempts", "key and host", "ledger",
            "client, another key or host"]  # fmt: skip
    table(head, [[r.fault.name, r.fault.kind, *map(str, r.found)] for r in results])
    differing = [result for result in results if result.differs]
    for result in differing:
        print(f"DIFFERS {result.fault.name}: {'; '.join(result.differs)}")
    print(f"{len(results)} faults, {len(differing)} not as expected")
    return 1 if differing or not results else 0


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, ["-" * width for width in widths], *rows):
        print(
            " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    print()


if __name__ == "__main__":
    sys.exit(main())

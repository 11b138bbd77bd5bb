"""Clients that never stop asking, and remember exactly what they were told.

What a client has been told is compared with the ledger afterwards (`findings`): an answer without
its entry, a charge that differs from the usage in the answer, or a unit held for nobody, is one.
Some requests have an `Idempotency-Key`: what is lost of their answers is asked for again, now and
then also what is not, and none may be charged twice.
"""

import http.client
import itertools
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bsod.lib import clock
from proxy.gateway.jobs import poll_due
from proxy.models import Job
from quotas import meter
from quotas.models import Balance, Entry
from tests import kit
from tests.kit import Person, Supply
from tests.upstream import Reply, chat, chat_stream, json_reply, models, sse
from tests.upstream.seen import Seen

if TYPE_CHECKING:
    from django.db.models import QuerySet

LIMIT = 60  # output tokens each call asks for
MARKED = 10_000  # the same of requests with a key, and one more for each
SEEN_THROUGH = 12.0  # seconds
OTHERS = 0.2  # share of calls that are no chat


@dataclass(frozen=True)
class Told:
    """One answer. `tokens` is what its usage states; `whole` that it came to its proper end;
    `again` that it was given before, as the answer to the call `id`."""

    id: str
    status: int
    whole: bool
    tokens: int | None
    code: str | None = None
    again: bool = False


@dataclass(frozen=True)
class Request:
    who: Person
    path: str
    body: dict[str, Any]
    key: str | None


def varied(supplied: Supply, seed: int = 1, pause: float = 0.0) -> None:
    """Answers of differing cost and length, streamed when asked; the worker's syncs find the
    model listed."""
    dice = random.Random(seed)

    def answer(seen: Seen) -> Reply:
        if seen.method == "GET":
            if "/responses/" not in seen.path:
                return models([supplied.model])
            name = seen.path.rpartition("/")[2]
            return json_reply(response(name, "completed"))
        if seen.path.endswith("/responses"):
            return _respond(seen, dice)
        prompt, completion = dice.randint(1, 20), dice.randint(1, 40)
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        if seen.json.get("stream"):
            pieces = ["word "] * dice.randint(1, 6)
            return chat_stream(pieces, delay_between=pause, **usage)
        return chat("word", **usage).but(delay_headers=pause)

    supplied.up.default = answer


def _respond(seen: Seen, dice: random.Random) -> Reply:
    """A stored response: streamed, or begun in the background."""
    name = f"resp_{dice.randint(1, 20)}_{dice.randint(1, 40)}_{dice.getrandbits(80):x}"
    if seen.json.get("background"):
        return json_reply(response(name, "queued"))
    events = [
        {"type": "response.created", "response": response(name, "in_progress")},
        {"type": "response.output_text.delta", "delta": "word"},
        {"type": "response.completed", "response": response(name, "completed")},
    ]
    return sse(*events, named=True, done=False)


def response(name: str, status: str) -> dict[str, Any]:
    """A response whose id says what it has used, when it has ended."""
    found: dict[str, Any] = {"id": name, "object": "response", "status": status, "output": []}
    if status == "completed":
        used, total = used_by(name), sum(used_by(name))
        found["usage"] = {"input_tokens": used[0], "output_tokens": used[1], "total_tokens": total}
    return found


def used_by(name: str) -> tuple[int, int]:
    _, prompt, completion, _ = name.split("_")
    return int(prompt), int(completion)


class Client(threading.Thread):
    """One connection; asks again as soon as it is answered, and comes back when it is cut off."""

    def __init__(self, load: "Load", number: int) -> None:
        super().__init__(daemon=True)
        self._load, self._dice, self._turn = load, random.Random(number), number
        self._connection: http.client.HTTPConnection | None = None
        self._pending: Request | None = None
        """What is to be asked again with its key."""

    def run(self) -> None:
        """Ask until the load ends; what was lost by then, until it is known what has become of
        it."""
        patience = float("inf")
        while not self._load.ended.is_set() or (self._pending and time.monotonic() < patience):
            if self._load.ended.is_set():
                patience = min(patience, time.monotonic() + SEEN_THROUGH)
            try:
                self._ask()
            except (OSError, http.client.HTTPException):
                self._load.lost += 1
                self._hang_up()
                time.sleep(0.05)
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _ask(self) -> None:
        load, dice = self._load, self._dice
        if self._connection is None:
            port = load.ports[self._turn % len(load.ports)]
            self._turn += 1
            self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        asked = self._pending or self._fresh()
        self._pending = asked if asked.key else None
        told = self._told(asked)
        if told.code and told.code.startswith("idempotency_"):
            # It runs still; or it was cut off, and is not to be had any more.
            self._pending = asked if told.code == "idempotency_running" else None
            time.sleep(0.05)
            return
        load.told.append(told)
        answered = told.whole and told.status != 503 and dice.random() > load.asking_again
        if told.again or answered:
            self._pending = None

    def _fresh(self) -> Request:
        load, dice = self._load, self._dice
        key, limit = None, LIMIT
        if dice.random() < load.marked:
            # By its limit, which is like no other's, the entries of a request are known.
            key, limit = secrets.token_hex(8), MARKED + next(load.serial)
        path, body = self._call(limit)
        return Request(dice.choice(load.people), path, body, key)

    def _call(self, limit: int) -> tuple[str, dict[str, Any]]:
        """Mostly chat; now and then a response that is stored, streamed or in the background."""
        body: dict[str, Any] = kit.ask(self._load.supplied, max_tokens=limit)
        stream = self._dice.random() < self._load.streams
        if self._dice.random() < OTHERS:
            asked = {"model": body["model"], "input": "Hello", "max_output_tokens": limit}
            return "/v1/responses", {**asked, "stream" if stream else "background": True}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return "/v1/chat/completions", body

    def _told(self, asked: Request) -> Told:
        assert self._connection is not None
        load, dice = self._load, self._dice
        headers = {**asked.who.auth, "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": asked.key} if asked.key else {}
        self._connection.request("POST", asked.path, json.dumps(asked.body), headers)
        response = self._connection.getresponse()
        first = response.headers["x-original-request-id"]
        name, again = first or response.headers["x-request-id"], first is not None
        leaves = "stream" in asked.body and dice.random() < load.leaving
        leaves = leaves and response.status == 200
        try:
            data = response.read(20 if leaves else None)
        except (OSError, http.client.HTTPException):
            leaves = True
        if leaves:
            self._hang_up()
            return Told(name, response.status, False, None, again=again)
        return replace(understood(name, response.status, data), again=again)


def understood(name: str, status: int, data: bytes) -> Told:
    if not data.startswith((b"data:", b"event:", b":")):
        body = json.loads(data)
        if status != 200:
            return Told(name, status, True, None, body["error"]["code"])
        if body["object"] == "response":
            return Told(name, status, True, sum(used_by(body["id"])))
        return Told(name, status, True, body["usage"]["total_tokens"])
    events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    if events and b'"response.' in events[0]:
        ended = json.loads(events[-1])
        whole = ended.get("type") == "response.completed"
        used = sum(used_by(ended["response"]["id"])) if whole else None
        return Told(name, status, whole, used)
    usage = [json.loads(event) for event in events if b'"total_tokens"' in event]
    tokens = usage[-1]["usage"]["total_tokens"] if usage else None
    return Told(name, status, events[-1:] == [b"[DONE]"], tokens)


class Load:
    """Clients at work between `with` and its end."""

    def __init__(
        self,
        ports: Sequence[int],
        people: Sequence[Person],
        supplied: Supply,
        *,
        clients: int = 16,
        streams: float = 0.4,
        leaving: float = 0.0,
        marked: float = 0.3,
        asking_again: float = 0.2,
    ) -> None:
        self.ports, self.people, self.supplied = ports, people, supplied
        self.streams, self.leaving = streams, leaving
        """Shares of calls that are streamed, and of streams whose client leaves half-way."""
        self.marked, self.asking_again = marked, asking_again
        """Shares of requests with a key, and of those that are asked again though answered."""
        self.serial = itertools.count(1)
        self.told: list[Told] = []
        self.lost = 0
        """Requests that got no answer at all."""
        self.ended = threading.Event()
        self._clients = [Client(self, number) for number in range(clients)]

    def __enter__(self) -> "Load":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        for client in self._clients:
            client.join(40)

    @property
    def answered(self) -> int:
        return sum(told.status == 200 and told.whole for told in list(self.told))

    def goes_on(self, more: int = 20, seconds: float = 20) -> bool:
        """Whether so many more are answered."""
        had = self.answered
        return bool(kit.eventually(lambda: self.answered >= had + more, seconds))

    def summary(self) -> str:
        statuses = Counter(told.code or told.status for told in self.told)
        return f"{dict(statuses)}, {self.lost} without an answer"


def findings(load: Load, seconds: float = 60.0) -> list[str]:
    """Everything the ledger and the clients do not agree on, once all calls are closed."""
    accounts = [who.account.pk for who in load.people]
    calls = Entry.objects.filter(account__in=accounts, kind="call")
    kit.eventually(lambda: _all_closed(calls), seconds, 0.1)
    # Before the entries: a client that is slow to end may be told of one in between.
    answers = list(load.told)
    entries = {entry.pk: entry for entry in calls}
    found = [f"{e.pk} is still open" for e in entries.values() if e.state == "open"]
    for told in answers:
        fault = _fault(told, entries.get(told.id))
        if fault:
            found.append(f"{told}: {fault}")
    for name, count in Counter(told.id for told in answers if not told.again).items():
        if count > 1:
            found.append(f"{name} was answered {count} times")
    found += _charged_twice(entries.values())
    return found + [fault for account in accounts for fault in _sums(account)]


def _all_closed(calls: "QuerySet[Entry]") -> bool:
    """Whether nothing is open any more; what goes on in the background is looked at."""
    jobs = Job.objects.filter(pk__in=calls.filter(state="open").values("pk"))
    if jobs.update(next_at=clock.now() - timedelta(minutes=1)):
        poll_due(clock.now())
    return not calls.filter(state="open").exists()


def _charged_twice(entries: Collection[Entry]) -> list[str]:
    """Requests with a key that have cost something more than once. Prompts of two routes are not
    estimated alike, so that two limits may come to one sum."""
    paid = Counter((e.route, e.estimate) for e in entries if e.state == "settled")
    return [
        f"a request to {route} was charged {count} times (its entries reserved {estimate})"
        for (route, estimate), count in paid.items()
        if count > 1 and estimate > MARKED
    ]


def _fault(told: Told, entry: Entry | None) -> str | None:
    if told.status != 200:
        return f"its entry is {entry.state}" if entry and entry.state == "settled" else None
    if entry is None:
        return "answered without an entry"
    if not told.whole:
        return None
    if entry.state != "settled":
        return f"answered, but its entry is {entry.state} ({entry.end_reason})"
    if told.tokens != entry.amount + entry.shortfall:
        return f"the answer says {told.tokens}, the entry {entry.amount}"
    return None


def _sums(account: int) -> list[str]:
    """What the audit asks, of one account, and that nothing is reserved for nobody."""
    entries = Entry.objects.filter(account=account)
    held = meter.used_by(entries.filter(state="open").values_list("kind", "legs"))
    spent = meter.used_by(entries.exclude(state="open").values_list("kind", "legs"))
    found = []
    for row in Balance.objects.filter(account=account):
        if (row.reserved, row.used) != (held.get(row.pk, 0), row.closed + spent.get(row.pk, 0)):
            found.append(f"balance {row.pk}: {row.reserved}, {row.used} is not what entries say")
        if row.granted is not None and row.reserved + row.used > row.granted:
            found.append(f"balance {row.pk} is overdrawn")
    return found


def together(count: int, work: Callable[[], Any]) -> list[Any]:
    """What `work` returns in so many threads that begin at one moment."""
    barrier = threading.Barrier(count)
    results: list[Any] = []

    def one() -> None:
        barrier.wait(20)
        results.append(work())

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results

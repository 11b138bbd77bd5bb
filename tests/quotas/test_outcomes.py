"""A second request of one scope, whatever has become of the process that had the first."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from bsod.lib import clock, sql
from bsod.lib.terms import Blame, EndReason, Modality, ObjectKind, OutcomeState
from proxy.errors import ApiError, Code
from proxy.gateway import closing
from proxy.gateway.copying import owner
from proxy.gateway.journey import Attempt, Mark, Outcome, Replay, Ticket
from proxy.gateway.operations import Admit, Begun, Closing, Keep
from proxy.gateway.replaying import opened
from proxy.pool import vault
from proxy.routes import ROUTES
from quotas import outcomes
from quotas.models import Outcome as Row
from quotas.models import Process
from quotas.outcomes import Kept
from quotas.processes import close_orphans
from tests import kit
from tests.kit import Person
from tests.quotas.desk import NOWHERE, Clerk, admit, close, token
from tests.quotas.line import answers, broken_after, broken_before, running

IMAGES = next(route for route in ROUTES if route.path == "/v1/images/generations")
RUNNING, UNKNOWN = Code.IDEMPOTENCY_RUNNING, Code.IDEMPOTENCY_UNKNOWN


class Asker:
    """Sends one request again and again."""

    def __init__(self, who: Person, *, media: bool = False) -> None:
        traits: dict[str, Any] = {"modality": Modality.IMAGE} if media else {}
        self.supplied = kit.supply(None, base_url=NOWHERE, **traits)
        self.who, self.media = who, media
        self.mark = Mark(kit.unique("scope").ljust(64, "0"), "f" * 64)

    def op(self, mark: Mark | None = None) -> Admit:
        op = admit(token(self.who.secret), self.supplied.model)
        route = IMAGES if self.media else op.call.route
        return Admit(replace(op.call, route=route, idempotency=mark or self.mark))

    def kept(self, ticket: Ticket, state: OutcomeState = OutcomeState.KEPT) -> Keep:
        told = (200, "text/plain", b"sealed") if state is OutcomeState.KEPT else (None, "", None)
        return Keep(ticket.account, Kept(self.mark.scope, ticket.call.id, state, *told))


def paid(ticket: Ticket) -> Closing:
    return close(ticket, 0 if ticket.call.route is IMAGES else 5)


def handed(asker: Asker, ticket: Ticket) -> Closing:
    """The call has begun something that goes on."""
    key = asker.supplied.key_row()
    attempt = Attempt(key.provider_id, key.pk, "", Blame.NOBODY)
    begun = Begun(ObjectKind.VIDEO, kit.unique("v"), "videos/v", clock.now() + timedelta(hours=1))
    outcome = Outcome(EndReason.COMPLETED, (attempt,))
    return Closing(ticket, outcome, closing.FREE, 200, 7, begun=begun)


def dies(clerk: Clerk, *, buried: bool = True, closed: bool = True) -> None:
    if buried:
        Process.objects.filter(pk=clerk.heart.id).delete()
    if closed:
        close_orphans()


def code(result: Any) -> Code | str:
    return result.code if isinstance(result, ApiError) else type(result).__name__


def nothing(asker: Asker, ticket: Ticket) -> list[Closing]:
    return []


def charged(asker: Asker, ticket: Ticket) -> list[Closing]:
    return [paid(ticket)]


def handed_over(asker: Asker, ticket: Ticket) -> list[Closing]:
    return [handed(asker, ticket)]


@pytest.mark.parametrize("media", [False, True], ids=["text", "media"])
@pytest.mark.parametrize(
    ("done", "alive", "buried", "text", "made"),
    [
        # what had been done, and when its process died: what a second request is told
        (nothing, RUNNING, RUNNING, "Ticket", UNKNOWN),
        (charged, RUNNING, UNKNOWN, UNKNOWN, UNKNOWN),
        (handed_over, RUNNING, UNKNOWN, UNKNOWN, UNKNOWN),
    ],
)
def test_after_a_death_nothing_is_begun_twice_that_may_have_been_done(
    media: bool, done: Callable[[Asker, Ticket], list[Closing]], alive: Code, buried: Code,
    text: Any, made: Code,
) -> None:  # fmt: skip
    for _ in range(5):
        alice = kit.person("alice")
        asker, first, other = Asker(alice, media=media), Clerk(), Clerk()
        (ticket,) = first.run(asker.op())
        first.run(*done(asker, ticket))
        assert code(other.run(asker.op())[0]) == alive
        dies(first, closed=False)
        told = code(other.run(asker.op())[0])
        left = next(entry for entry in alice.entries() if entry.id == ticket.call.id)
        # Else a gateway of the suite has closed what the dead had left, just in between.
        if told == buried or left.state == "open":
            break
    assert told == buried
    dies(first)
    (last,) = other.run(asker.op())

    assert code(last) == (made if media else text)
    if isinstance(last, Ticket):
        assert isinstance(other.run(paid(last), asker.kept(last))[0].amount, int)
        (again,) = other.run(asker.op())
        assert isinstance(again, Replay)
        assert again.first.entry == last.call.id
    settled = [entry for entry in alice.entries() if entry.state == "settled"]
    assert len(settled) <= 1
    assert not alice.entries()[1:] or isinstance(last, Ticket)


def test_what_was_kept_is_given_by_every_process_and_after_a_death(alice: Person) -> None:
    asker, first, other = Asker(alice, media=True), Clerk(), Clerk()
    (ticket,) = first.run(asker.op())
    first.run(paid(ticket))
    first.run(asker.kept(ticket))
    dies(first)

    (replay,) = other.run(asker.op())

    known = replay.first
    assert (known.entry, known.status, known.content_type) == (ticket.call.id, 200, "text/plain")
    assert outcomes.sealed(known.scope, known.entry) == b"sealed"
    (entry,) = alice.entries()
    assert entry.state == "settled"


def test_two_of_one_batch_see_each_other(alice: Person) -> None:
    asker, clerk = Asker(alice), Clerk()
    other = Mark(asker.mark.scope, "e" * 64)
    ticket, second, third = clerk.run(asker.op(), asker.op(), asker.op(other))
    assert isinstance(ticket, Ticket)
    assert code(second) == RUNNING
    assert code(third) == Code.IDEMPOTENCY_MISMATCH

    _, fresh = clerk.run(close(ticket, None), asker.op(other))
    assert isinstance(fresh, Ticket), "the first was not charged: it has never been"
    assert Row.objects.get(scope=asker.mark.scope).entry == fresh.call.id

    # What the first leaves behind late is not the second's.
    clerk.run(asker.kept(ticket, OutcomeState.LOST), close(ticket, None))
    assert code(clerk.run(asker.op(other))[0]) == RUNNING
    clerk.run(close(fresh, None))
    assert not Row.objects.filter(scope=asker.mark.scope).exists()
    assert kit.ledger_adds_up(alice)


@pytest.mark.parametrize("fault", [broken_before, broken_after])
def test_a_commit_that_breaks_neither_loses_a_row_nor_makes_two(
    alice: Person, fault: Callable[[], None]
) -> None:
    asker = Asker(alice)

    async def scene() -> None:
        async with running() as line:
            line.faults = [(1, fault)]
            (ticket,) = await answers(line.submit(asker.op()))
            assert isinstance(ticket, Ticket)
            (second,) = await answers(line.submit(asker.op()))
            assert code(second) == RUNNING
            await answers(line.submit(paid(ticket), must=True))
            line.faults = [(1, fault)]
            await answers(line.submit(asker.kept(ticket), must=True))
            (replay,) = await answers(line.submit(asker.op()))
            assert isinstance(replay, Replay)

    asyncio.run(scene())


def test_a_second_request_is_counted_and_refused_for_its_speed_like_any_other(
    database: None,
) -> None:
    who = kit.person("quick", requests_per_minute=2)
    asker, clerk = Asker(who), Clerk()
    (ticket,) = clerk.run(asker.op())
    clerk.run(paid(ticket), asker.kept(ticket))
    results = [clerk.run(asker.op())[0] for _ in range(2)]
    assert [code(result) for result in results] == ["Replay", Code.RATE_LIMIT_EXCEEDED]
    assert results[0].quota.pace.remaining == 0


def test_a_day_later_it_is_a_new_request_whether_or_not_the_row_has_been_purged(
    alice: Person, bob: Person
) -> None:
    asker, clerk = Asker(alice), Clerk()
    (ticket,) = clerk.run(asker.op())
    clerk.run(paid(ticket), asker.kept(ticket))
    row = Row.objects.get(scope=asker.mark.scope)
    assert row.expires_at - row.created_at == timedelta(hours=24)
    Row.objects.filter(pk=row.pk).update(expires_at=clock.now())

    (second,) = clerk.run(asker.op())
    assert isinstance(second, Ticket)
    outcomes.purge_expired()
    assert Row.objects.get(scope=asker.mark.scope).entry == second.call.id, "it is young again"
    outcomes.purge_expired(clock.now() + timedelta(hours=23, minutes=59))
    assert Row.objects.filter(pk=row.pk).exists()

    others = Asker(bob)
    (ticket,) = clerk.run(others.op())
    clerk.run(paid(ticket), others.kept(ticket))
    outcomes.forget(alice.account.pk)
    assert Row.objects.filter(pk=row.pk).exists(), "what still runs must be known"
    clerk.run(paid(second), asker.kept(second))
    assert outcomes.forget(alice.account.pk) == 1
    assert Row.objects.filter(account=bob.account).count() == 1


class Watched:
    """A cursor whose statements are seen."""

    def __init__(self, cursor: Any, seen: dict[str, Any]) -> None:
        self._cursor, self._seen = cursor, seen

    def execute(self, statement: str, values: Any = ()) -> Any:
        self._seen[statement] = values
        return self._cursor.execute(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The batch's statements and their values."""
    found: dict[str, Any] = {}
    real = sql.hot_cursor

    @contextlib.contextmanager
    def watched() -> Any:
        with real() as cursor:
            yield Watched(cursor, found)

    monkeypatch.setattr(sql, "hot_cursor", watched)
    return found


def test_a_call_without_the_header_costs_no_statement_and_one_with_it_reads_no_table(
    alice: Person, seen: dict[str, Any]
) -> None:
    asker, clerk = Asker(alice), Clerk()
    for prompt in (5, None):
        (plain,) = clerk.run(admit(token(alice.secret), asker.supplied.model))
        clerk.run(close(plain, prompt))
    assert len(seen) > 5
    assert not [statement for statement in seen if "quotas_outcome" in statement]

    for prompt in (None, 5):
        (ticket,) = clerk.run(asker.op())
        clerk.run(close(ticket, prompt), asker.kept(ticket))
    ours = {statement: values for statement, values in seen.items() if "_outcome" in statement}
    assert len(ours) == 4, "read, begin, keep and drop"
    if connection.vendor == "sqlite":  # PostgreSQL plans by what it has counted
        with connection.cursor() as cursor:
            for statement, values in ours.items():
                cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
                assert not [row for row in cursor.fetchall() if row[3].startswith("SCAN quotas")]


def test_an_answer_opens_for_its_own_call_alone(alice: Person) -> None:
    asker, clerk = Asker(alice), Clerk()
    (ticket,) = clerk.run(asker.op())
    place = (asker.mark.scope, ticket.call.id)
    sealed = vault().seal_bytes(owner(*place), b"\xff\0 said")
    kept = Kept(*place, OutcomeState.KEPT, 200, "text/plain", sealed)
    clerk.run(paid(ticket), Keep(ticket.account, kept))
    (replay,) = clerk.run(asker.op())
    assert opened(replay.first) == b"\xff\0 said"

    others = vault().seal_bytes(owner(asker.mark.scope, "another"), b"said")
    for moved in (others, sealed[:-9], b"", None):
        Row.objects.filter(scope=asker.mark.scope).update(sealed=moved)
        with pytest.raises(ApiError) as refused:
            opened(replay.first)
        assert refused.value.code is UNKNOWN

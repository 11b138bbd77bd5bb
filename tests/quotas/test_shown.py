"""Shown = enforced, through the ledger's own thread: in every bucket, whatever fills it, a
reservation of exactly what `/balance/` shows as left is admitted, one unit more is refused."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.keys.identity import read
from accounts.models import Plan
from bsod.lib import clock
from bsod.lib.terms import Bucket, Modality
from proxy.errors import ApiError, Code
from proxy.gateway.journey import Call, Caller, Ticket
from proxy.gateway.operations import Admit
from proxy.route import Route
from proxy.routes import ROUTES
from quotas import report
from quotas.models import Balance
from tests import kit
from tests.kit import Person
from tests.quotas.desk import NOWHERE, call, close, token
from tests.quotas.line import Line, answers, aside, running

EXAMPLES = 20
MOST_BEFORE = 2
LEAST = 10  # what any call costs that is paid in credits
FILMS = {Bucket.VIDEO_SORA2PRO: "sora-2-pro", Bucket.VIDEO_SORA2: "sora-2",
         Bucket.VIDEO_OTHER: "veo"}  # fmt: skip
PATHS = {Bucket.IMAGE: "/v1/images/generations", Bucket.AUDIO: "/v1/audio/speech",
         Bucket.FILE: "/v1/files", **dict.fromkeys(FILMS, "/v1/videos")}  # fmt: skip
few, units = st.integers(0, 6), st.integers(0, 3000)
pytestmark = pytest.mark.timeout(120)


@dataclass
class Filling:
    """What is in one bucket: the day's cap, the key's own, grants with what is used of them and
    the days they still have; and the calls made before."""

    cap: int
    own: int | None
    grants: list[tuple[int, int, int | None]]
    calls: list[tuple[int, int | None]]
    """(reserved, what it came to; None: it is open still)."""


def amounts(bucket: Bucket) -> st.SearchStrategy[int]:
    # A file's call is always of one unit: what is left of them is asked for one by one.
    return few if bucket is Bucket.FILE else units


def fillings(bucket: Bucket) -> st.SearchStrategy[Filling]:
    amount = amounts(bucket)
    grant = st.tuples(amount, amount, st.sampled_from([None, None, 1, 2, -1]))
    before = st.tuples(amount, st.none() | amount)
    return st.builds(
        Filling, amount, st.none() | amount, st.lists(grant, max_size=3),
        st.lists(before, max_size=MOST_BEFORE),
    )  # fmt: skip


daily = st.fixed_dictionaries({b: fillings(b) for b in Bucket if b is not Bucket.CREDITS})
period = st.fixed_dictionaries({Bucket.CREDITS: fillings(Bucket.CREDITS)})


@dataclass
class Scene:
    """A person whose buckets are filled like that."""

    filled: Mapping[Bucket, Filling]
    who: Person = field(init=False)

    def __post_init__(self) -> None:
        credits = self.filled.get(Bucket.CREDITS)
        plan = Plan.objects.get(slug="pro" if credits else "free")
        plan.pk = plan.slug = kit.unique("filled")
        plan.caps = {str(bucket): each.cap for bucket, each in self.filled.items() if not credits}
        plan.credits_per_period = credits.cap if credits else 0
        plan.save(force_insert=True)
        caps = {str(b): each.own for b, each in self.filled.items() if each.own is not None}
        self.who = kit.person("filled", plan=plan.slug, caps=caps)
        now = clock.now()
        Balance.objects.bulk_create(
            Balance(
                account=self.who.account, bucket=bucket, granted=left + used, used=used,
                closed=used, expires_at=None if days is None else now + timedelta(days=days),
            )
            for bucket, each in self.filled.items()
            for left, used, days in each.grants
        )  # fmt: skip

    def left(self) -> dict[Bucket, int]:
        """What `/balance/` says."""
        now = clock.now()
        with connection.cursor() as cursor:
            key = self.who.key.public_id
            shown = report.balance(cursor, read(cursor, [key], now, lock=False)[key], now)
        if Bucket.CREDITS in self.filled:
            return {Bucket.CREDITS: shown["credits"]}
        return {bucket: shown["effective_remaining"][bucket] for bucket in self.filled}


class Wants:
    """Calls that reserve so many units of a bucket."""

    def __init__(self) -> None:
        kinds = {Bucket.IMAGE: Modality.IMAGE, Bucket.AUDIO: Modality.AUDIO}
        kinds |= dict.fromkeys(FILMS, Modality.VIDEO)
        self.models = {
            bucket: self._model(FILMS.get(bucket, "medium"), modality=kind)
            for bucket, kind in kinds.items()
        }
        self.models[Bucket.FILE] = ""
        self.models[Bucket.TEXT_BASE] = self._model("base")
        self.models[Bucket.TEXT_PRO] = self._model("pro", tier="pro")
        price = {"credits_per_1k_input": 1000, "credits_per_1k_output": 1000}
        self.models[Bucket.CREDITS] = self._model("priced", **price)

    def _model(self, stem: str, **traits: Any) -> str:
        return kit.supply(None, base_url=NOWHERE, model=kit.unique(stem), **traits).model

    def __call__(self, who: Person, bucket: Bucket, amount: int) -> list[Admit]:
        of, name = token(who.secret), self.models[bucket]
        if bucket not in PATHS:
            return [Admit(call(of, name, prompt=amount, limit=0))]
        route = next(r for r in ROUTES if (r.method, r.path) == ("POST", PATHS[bucket]))
        if bucket is Bucket.FILE:
            return [Admit(_of(route, of, name, 1)) for _ in range(amount)]
        return [Admit(_of(route, of, name, amount))]


def _of(route: Route, of: Any, name: str, amount: int) -> Call:
    spare = call(of, name)
    caller = Caller(of, "127.0.0.1")
    return Call(spare.id, route, caller, clock.monotonic(), None, name, units=amount)


@pytest.fixture(scope="module")
def wants(database: None) -> Wants:
    return Wants()


class Asked:
    """Operations asked of the ledger from the test's own thread, many in one batch."""

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop, wants: Wants) -> None:
        self._line, self._loop, self._wants = line, loop, wants

    def admit(self, who: Person, amounts: Mapping[Bucket, int]) -> dict[Bucket, list[Any]]:
        """Calls of so many units in each bucket, and what became of them."""
        ops = {bucket: self._wants(who, bucket, amount) for bucket, amount in amounts.items()}
        results = iter(self.do([op for each in ops.values() for op in each]))
        return {bucket: [next(results) for _ in each] for bucket, each in ops.items()}

    def do(self, ops: list[Any], *, must: bool = False) -> list[Any]:
        async def asked() -> list[Any]:
            return await answers(self._line.submit(*ops, must=must))

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(30) if ops else []


def test_what_is_shown_as_left_is_admitted_and_one_unit_more_is_not(wants: Wants) -> None:
    async def scenes() -> None:
        async with running() as line:
            asked = Asked(line, asyncio.get_running_loop(), wants)

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                # To make a failure smaller would take minutes: each try is a ledger's work.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(daily | period)
            def each(filled: Mapping[Bucket, Filling]) -> None:
                play(asked, Scene(filled))

            await aside(each)

    asyncio.run(scenes())


def play(asked: Asked, scene: Scene) -> None:
    for turn in range(MOST_BEFORE):
        _before(asked, scene, turn)
    left = scene.left()
    # A file's call is always of one unit: those are asked for to the last, and then for one more.
    more = asked.admit(scene.who, {b: n + 1 for b, n in left.items() if b is not Bucket.FILE})
    for bucket, (refused,) in more.items():
        _refused(refused, bucket, left[bucket])
    assert scene.left() == left, "who was refused has drawn nothing"

    enough = {b: n for b, n in left.items() if b is not Bucket.CREDITS or n >= LEAST}
    for bucket, tickets in asked.admit(scene.who, enough).items():
        assert all(isinstance(ticket, Ticket) for ticket in tickets), (bucket, left, tickets)
        assert sum(ticket.reserved for ticket in tickets) == left[bucket]
        if tickets:
            shown = tickets[-1].quota.bucket
            assert (shown.bucket, shown.remaining) == (bucket, 0)
    assert scene.left() == left | dict.fromkeys(enough, 0)
    if Bucket.FILE in left:
        (refused,) = asked.admit(scene.who, {Bucket.FILE: 1})[Bucket.FILE]
        _refused(refused, Bucket.FILE, 0)


def _before(asked: Asked, scene: Scene, turn: int) -> None:
    """One call made before in each bucket: it is open, or has ended for less than was reserved or
    for more."""
    calls = {b: each.calls[turn] for b, each in scene.filled.items() if turn < len(each.calls)}
    made = asked.admit(scene.who, {bucket: amount for bucket, (amount, _) in calls.items()})
    ended = [
        close(ticket, came_to)
        for bucket, (_, came_to) in calls.items()
        for ticket in made[bucket]
        if came_to is not None and isinstance(ticket, Ticket)
    ]
    asked.do(ended, must=True)


def _refused(error: Any, bucket: Bucket, left: int) -> None:
    assert isinstance(error, ApiError), (bucket, left, error)
    credits = bucket is Bucket.CREDITS
    assert error.code is (Code.INSUFFICIENT_CREDITS if credits else Code.QUOTA_EXCEEDED)
    quota = error.extra["quota"]
    needed = max(LEAST, left + 1) if credits else left + 1
    assert (quota["bucket"], quota["left"], quota["needed"]) == (bucket, left, needed)
    assert error.headers()["x-quota-remaining"] == str(left)

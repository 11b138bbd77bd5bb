"""The state machine: random movements, done by the real batch code on the real database and by
`model.Ledger`, and compared after every one of them.

Two processes share an account with four keys (plain, capped, few open calls, unlimited). They ask
for text, for images by the piece, and for what a job ends. Time is the test's: it stands still,
jumps over midnight, and steps back an hour. Between the two nothing is shared but the amounts
asked for.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from accounts.keys.models import ApiKey
from accounts.keys.service import create_key
from accounts.models import Plan
from accounts.service import create_account
from bsod.lib import clock
from bsod.lib.groupcommit import ProcessGone, exclusive
from bsod.lib.terms import Bucket, ObjectKind
from proxy.errors import ApiError
from proxy.gateway import jobs
from proxy.gateway.journey import Receipt, Ticket
from proxy.gateway.operations import Op
from proxy.pool import Pool
from quotas import meter, processes
from quotas.models import Balance, Process
from tests import kit
from tests.quotas import wares
from tests.quotas.desk import Clerk, close, token
from tests.quotas.model import Held, Ledger, Pot, Terms, later
from tests.quotas.wares import BUCKETS, BY_THE_PIECE, CALL, END, Asked, Ended, Ware

CAPS = {"text.base": 5_000, "text.pro": 900, "image": 40, "video.other": 8}
MOST_OPEN, FEW_OPEN = 12, 2

PROCESS = st.integers(0, 1)
RUN = st.sampled_from(["once", "once", "rolled back", "twice"])


class Broken(OperationalError):
    """The connection was lost before the commit."""


class Machine(RuleBasedStateMachine):
    steps = 0
    wares: dict[str, Ware] = {}
    pool: Pool | None = None

    @initialize()
    def open(self) -> None:
        self.now = datetime(2031, 5, 5, 9, 30, tzinfo=UTC)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(clock, "now", lambda: self.now)
        if not Machine.wares:
            Machine.wares = {name: wares.ware(name) for name in BUCKETS}
            Machine.pool = Pool()
        self.ledger = Ledger(dict(CAPS), MOST_OPEN)
        self.keys: dict[str, tuple[Terms, ApiKey, Any]] = {}
        with transaction.atomic():  # one commit: the machine's time is for its steps
            self.plan = Plan.objects.create(slug=kit.unique("plan"), caps=CAPS,
                open_calls=MOST_OPEN, requests_per_minute=10**6)  # fmt: skip
            self.account = create_account(kit.unique("machine"), plan=self.plan.slug)
            self._key("plain")
            self._key("capped", caps={"text.base": 1_500, "image": 7})
            self._key("few", open_calls=FEW_OPEN)
            self._key("unlimited", unlimited=True)
        self.clerks = [Clerk(self.pool), Clerk(self.pool)]
        self.tickets: dict[str, Ticket] = {}
        self.grants: dict[Pot, Balance] = {}

    def _key(self, name: str, **terms: Any) -> None:
        row, secret = create_key(self.account, name, **terms)
        own = f"key:{row.pk}"
        owner = own if terms.get("unlimited") else "user"
        what = Terms(own, owner, dict(terms.get("caps", {})), terms.get("open_calls"))
        self.keys[name] = (what, row, token(secret))

    def teardown(self) -> None:
        if hasattr(self, "clerks"):
            for name in self._jobs():
                jobs.finish(name, ObjectKind.VIDEO, wares.ending(None, 0, stated=False))
            for clerk in self.clerks:
                clerk.heart.stop()
            processes.close_orphans()
            self.patch.undo()

    # ---- calls

    @rule(asked=st.lists(CALL, min_size=1, max_size=5), at=PROCESS, how=RUN)
    def admit(self, asked: Sequence[Asked], at: int, how: str) -> None:
        self._batch(asked, [], at, how)

    @rule(ended=st.lists(END, min_size=1, max_size=5), at=PROCESS, how=RUN)
    def close(self, ended: Sequence[Ended], at: int, how: str) -> None:
        self._batch([], ended, at, how)

    @rule(ended=st.lists(END, min_size=1, max_size=3), at=PROCESS)
    def release(self, ended: Sequence[Ended], at: int) -> None:
        self._batch([], [(number, None, 0) for number, _, _ in ended], at, "once")

    @rule(which=st.integers(0, 50), more=st.integers(1_000, 40_000), at=PROCESS)
    def overrun(self, which: int, more: int, at: int) -> None:
        self._batch([], [(which, 5, more)], at, "once")

    @rule(
        asked=st.lists(CALL, min_size=1, max_size=4),
        ended=st.lists(END, min_size=1, max_size=4),
        at=PROCESS,
        how=RUN,
    )
    def both(self, asked: Sequence[Asked], ended: Sequence[Ended], at: int, how: str) -> None:
        self._batch(asked, ended, at, how)

    def _batch(self, asked: Sequence[Asked], ended: Sequence[Ended], at: int, how: str) -> None:
        clerk = self.clerks[at]
        open_calls = [pair for pair in self.tickets.items() if self._mine(pair[0], clerk)]
        chosen = [(open_calls[n % len(open_calls)], p, c) for n, p, c in ended if open_calls]
        closes = [self._end(name, ticket, prompt, out) for (name, ticket), prompt, out in chosen]
        ops: list[Op] = [*closes, *(self._asked(one) for one in asked)]
        if how == "rolled back":
            self._break(clerk, ops)
        results = clerk.run(*ops)
        opened = self.ledger.counts_open()
        day = clock.day_of(self.now)
        for name, tier, *_ in asked:
            self.ledger.prepare(self.keys[name][0], BUCKETS[tier], day)
        for ((name, _), prompt, out), receipt in zip(chosen, results, strict=False):
            self._compare_close(self.ledger.calls[name], prompt, out, receipt)
        for one, op, result in zip(asked, ops[len(closes) :], results[len(closes) :], strict=True):
            self._compare_admit(one, op, result, opened, clerk)
        if how == "twice":
            again = clerk.run(*closes)
            assert [(r.amount, r.shortfall) for r in again] == [
                (self.ledger.calls[name].amount, self.ledger.calls[name].shortfall)
                for (name, _), _, _ in chosen
            ]

    def _mine(self, name: str, clerk: Clerk) -> bool:
        held = self.ledger.calls.get(name)
        return held is not None and (held.process is clerk or held.state != "open")

    def _end(self, name: str, ticket: Ticket, prompt: int | None, out: int) -> Op:
        pieces = self.ledger.calls[name].pieces
        if pieces and prompt is not None:
            return wares.close(ticket, out % (pieces + 1))
        return close(ticket, prompt, out)

    def _asked(self, one: Asked) -> Op:
        name, tier, prompt, limit, choices = one
        return wares.admit(self.keys[name][2], self.wares[tier], prompt, limit, choices)

    def _break(self, clerk: Clerk, ops: Sequence[Op]) -> None:
        """Everything is written, then the connection is lost: nothing may be left of it."""
        with contextlib.suppress(Broken), exclusive("a batch that breaks"):
            clerk.batch.run(ops)
            raise Broken

    def _compare_admit(
        self, one: Asked, op: Any, result: Any, opened: dict[str, int], clerk: Clerk
    ) -> None:
        name, tier, prompt, limit, choices = one
        expected = self.ledger.admit(
            self.keys[name][0], BUCKETS[tier], prompt, limit, choices,
            clock.day_of(self.now), self.now, opened, clerk, tier in BY_THE_PIECE,
        )  # fmt: skip
        if isinstance(expected, str):
            assert isinstance(result, ApiError), f"admitted, but for {expected}"
            assert str(result.code) == expected
            return
        assert isinstance(result, Ticket), f"refused: {result!r}"
        self.ledger.calls[op.call.id] = expected
        self.tickets[op.call.id] = result

    def _compare_close(self, held: Held, prompt: int | None, out: int, receipt: Receipt) -> None:
        came = None if prompt is None else prompt + out
        if held.pieces and prompt is not None:
            came = out % (held.pieces + 1) or None
        if came is None:
            self.ledger.close(held, 0, "released", "upstream_error")
        else:
            self.ledger.close(held, came)
        assert (receipt.amount, receipt.shortfall) == (held.amount, held.shortfall)

    # ---- what else happens to a ledger

    @rule(
        tier=st.sampled_from(sorted(BUCKETS)),
        amount=st.integers(1, 4_000),
        hours=st.one_of(st.none(), st.sampled_from([0.5, 3, 24, 30])),
    )
    def grant(self, tier: str, amount: int, hours: float | None) -> None:
        expires = None if hours is None else later(self.now, hours)
        pot = self.ledger.grant(BUCKETS[tier], amount, expires)
        self.grants[pot] = meter.grant(self.account, Bucket(BUCKETS[tier]), amount, expires)

    @rule(cap=st.integers(0, 4_000), bucket=st.sampled_from(["text.base", "image"]))
    def key_cap(self, cap: int, bucket: str) -> None:
        terms, row, _ = self.keys["capped"]
        terms.caps[bucket] = cap if bucket == "text.base" else cap % 12
        ApiKey.objects.filter(pk=row.pk).update(caps=terms.caps)

    @rule(tier=st.sampled_from(sorted(BUCKETS)), cap=st.integers(0, 8_000))
    def plan_cap(self, tier: str, cap: int) -> None:
        self.ledger.caps[BUCKETS[tier]] = cap % 50 if tier in BY_THE_PIECE else cap
        Plan.objects.filter(pk=self.plan.pk).update(caps=self.ledger.caps)

    @rule(which=st.integers(0, 50), amount=st.integers(-2_000, 2_000).filter(bool))
    def correct(self, which: int, amount: int) -> None:
        if not self.ledger.pots:
            return
        pot = self.ledger.pots[which % len(self.ledger.pots)]
        row = self._row(pot)
        if self.ledger.correct(pot, amount, self.now):
            meter.correct(self.account, row, amount)
        else:
            with pytest.raises(meter.Impossible):
                meter.correct(self.account, row, amount)

    @rule()
    def purge(self) -> None:
        self.ledger.purge(None)
        meter.purge(self.account)

    @rule(
        which=st.integers(0, 50),
        at=PROCESS,
        hours=st.sampled_from([0.5, 3]),
        how=st.sampled_from(["once", "rolled back"]),
    )
    def begins_a_job(self, which: int, at: int, hours: float, how: str) -> None:
        """From now on no process holds the call, and it ends as a job does, or by the clock."""
        clerk = self.clerks[at]
        held = [name for name, call in self.ledger.calls.items() if self._holds(clerk, call)]
        if not held:
            return
        name = held[which % len(held)]
        call, ends = self.ledger.calls[name], later(self.now, hours)
        ware = next(self.wares[w] for w, bucket in BUCKETS.items() if bucket == call.bucket)
        op = wares.hand_over(self.tickets[name], ware, ends)
        if how == "rolled back":
            self._break(clerk, [op])
        (receipt,) = clerk.run(op)
        assert (receipt.amount, receipt.reserved) == (0, call.estimate)
        call.process, call.due_by = None, ends

    @staticmethod
    def _holds(clerk: Clerk, call: Held) -> bool:
        return call.state == "open" and call.process is clerk

    def _jobs(self) -> list[str]:
        held = self.ledger.calls.items()
        return [name for name, call in held if call.state == "open" and call.process is None]

    @rule(which=st.integers(0, 50), ended=END, stated=st.booleans(), twice=st.booleans())
    def a_job_ends(self, which: int, ended: Ended, stated: bool, twice: bool) -> None:
        """Seen by a reply or by the worker: the first closes it, the second changes nothing."""
        found = self._jobs()
        if not found:
            return
        name, (_, prompt, out) = found[which % len(found)], ended
        end, call = wares.ending(prompt, out, stated=stated), self.ledger.calls[name]
        assert jobs.finish(name, ObjectKind.VIDEO, end)
        assert not (twice and jobs.finish(name, ObjectKind.VIDEO, wares.ending(1, 1, stated=True)))
        if prompt is None:
            self.ledger.close(call, 0, "released", "upstream_error")
        elif call.pieces or not stated:
            self.ledger.close(call, call.estimate)
        else:
            self.ledger.close(call, prompt + out)

    @rule()
    def expire(self) -> None:
        self.ledger.expire(self.now)
        processes.close_expired(self.now)
        jobs.drop_expired(self.now)

    @rule(minutes=st.sampled_from([1, 20, 45, 200, 1500]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def midnight(self) -> None:
        """The first moment of the next day."""
        self.now = clock.end_of_day(clock.day_of(self.now))

    @rule()
    def clock_back(self) -> None:
        self.now -= timedelta(hours=1)

    @rule(at=PROCESS)
    def kill(self, at: int) -> None:
        """A process falls silent, is buried, and tries to go on as if nothing had happened."""
        dead = self.clerks[at]
        mine = [name for name in self.tickets if self.ledger.calls.get(name)]
        late = [name for name in mine if self.ledger.calls[name] in self.ledger.open_of(dead)]
        beat = Process.objects.get(id=dead.heart.id).beat
        processes.bury(dead.heart.id, beat)
        processes.close_orphans()
        self.ledger.crash(dead)
        ops = [close(self.tickets[name], 5, 5) for name in late]
        with pytest.raises(ProcessGone):
            dead.run(*ops, self._asked(("plain", "base", 1, 1, 1)))
        self.clerks[at] = Clerk(self.pool)

    # ---- after every step

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "clerks"):
            return
        Machine.steps += 1
        for clerk in self.clerks:
            clerk.stay_alive()
        balances, entries = self._read()
        self._adds_up(balances, entries)
        assert {
            (owner, bucket, period, None if period else pk): sums
            for pk, owner, bucket, period, *sums in balances
        } == {
            (pot.owner, pot.bucket, pot.day, None if pot.day else self.grants[pot].pk): [
                pot.granted, pot.reserved, pot.used, pot.purged
            ]
            for pot in self.ledger.pots
        }  # fmt: skip
        assert {pk: rest for pk, kind, _, *rest in entries if kind == "call"} == {
            name: [held.state, held.amount, held.shortfall, held.why]
            for name, held in self.ledger.calls.items()
        }

    def _read(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Plain SQL: the ORM would take most of the machine's time."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, owner, bucket, period, granted, reserved, used, closed "
                "FROM quotas_balance WHERE account_id = %s",
                [self.account.pk],
            )
            balances = cursor.fetchall()
            cursor.execute(
                "SELECT id, kind, legs, state, amount, shortfall, end_reason "
                "FROM quotas_entry WHERE account_id = %s",
                [self.account.pk],
            )
            return balances, cursor.fetchall()

    def _adds_up(self, balances: Sequence[Any], entries: Sequence[Any]) -> None:
        """What the audit asks, of this account."""
        held = meter.used_by((row[1], row[2]) for row in entries if row[3] == "open")
        spent = meter.used_by((row[1], row[2]) for row in entries if row[3] != "open")
        for pk, *_, reserved, used, closed in balances:
            assert reserved == held.pop(pk, 0)
            assert used == closed + spent.pop(pk, 0)
        assert not any((held | spent).values())

    def _row(self, pot: Pot) -> Balance:
        if pot in self.grants:
            return self.grants[pot]
        return Balance.objects.get(
            account=self.account, owner=pot.owner, bucket=pot.bucket, period=pot.day
        )


BOUNDS = settings(
    max_examples=5,
    stateful_step_count=100,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def play(steps: int, seconds: float, first_seed: int, say: Callable[[str], None] = print) -> int:
    """Run machines until that many steps are done or the time is up; says what repeats it."""
    began, runs, done = time.monotonic(), 0, Machine.steps
    try:
        while Machine.steps - done < steps and time.monotonic() - began < seconds:
            run_state_machine_as_test(seed(first_seed + runs)(Machine), settings=BOUNDS)
            runs += 1
    finally:
        spent = time.monotonic() - began
        say(f"  machine: {Machine.steps - done} steps in {spent:.0f} s, "
            f"MACHINE_SEED={first_seed} (run {runs})")  # fmt: skip
    return Machine.steps - done

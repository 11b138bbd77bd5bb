"""What is done to running gateways. Each scene returns its findings; none means all is well.

A scene starts what it breaks, on the test's database, under load; it ends when the calls of its
people are all closed and their balances have been added up.
"""

import contextlib
import fcntl
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import OperationalError, connection

from accounts.models import Plan
from bsod.lib import clock
from proxy.gateway.journey import Ticket
from quotas.models import Entry, Process
from tests import kit
from tests.kit import Site, Supply
from tests.quotas.desk import Clerk, admit, token
from tests.torture.load import Load, findings, varied
from tests.torture.points import WORKERS, Point
from tests.upstream import FaultServer

DEAD_AFTER = "2"
Say = Callable[[str], None]


class Stage:
    """Gateways of a scene, its people and provider, gone when it ends."""

    def __init__(self, say: Say = print) -> None:
        self.say = say
        self._exit = contextlib.ExitStack()
        self.up = self._exit.enter_context(FaultServer())
        self.supplied: Supply = kit.supply(self.up)
        varied(self.supplied)
        plan = Plan.objects.create(
            slug=kit.unique("plan"), caps={"text.base": 10**10},
            requests_per_minute=10**6, open_calls=10**4,
        )  # fmt: skip
        self.people = [kit.person("tortured", plan=plan.slug) for _ in range(3)]
        self.sites: list[Site] = []

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *error: object) -> None:
        for site in self.sites:
            site.stop(signal.SIGKILL)
        self._exit.close()

    def launch(self, workers: int = 2, **env: str) -> Site:
        self.sites.append(kit.launch(workers, **{"LEDGER_DEAD_AFTER": DEAD_AFTER, **env}))
        return self.sites[-1]

    @property
    def ports(self) -> list[int]:
        return [int(site.url.rpartition(":")[2]) for site in self.sites]

    def load(self, clients: int = 12, leaving: float = 0.0) -> Load:
        return Load(self.ports, self.people, self.supplied, clients=clients, leaving=leaving)


# ---- named points


def kill_points(points: Sequence[Point], say: Say = print) -> list[str]:
    """A gateway for each point, all at work on one database; each dies once, at its own."""
    with Stage(say) as stage:
        marks = {point: _mark(point) for point in points}
        for point in points:
            if point.name not in WORKERS:
                # Who is to die while burying must be the first to lose patience with the dead.
                patience = "1" if point.name == "bury" else "4"
                stage.launch(
                    1, KILL_AT=str(point), KILL_MARK=str(marks[point]), LEDGER_DEAD_AFTER=patience
                )
        if not stage.sites:
            stage.launch(1)
        ghost = _ghost(stage)
        with contextlib.ExitStack() as workers, stage.load() as load:
            for point in points:
                if point.name in WORKERS:
                    workers.enter_context(_worker(KILL_AT=str(point), KILL_MARK=str(marks[point])))
            if any(point.name == "leave" for point in points):
                load.goes_on(20)
                _ask_to_leave(stage, points)
            kit.eventually(lambda: _all_reached(marks), 20, 0.3)
            goes_on = load.goes_on()
        found = findings(load)
        say(f"  {', '.join(map(str, points))}: {load.summary()}")
        found += [f"{point} was never reached" for point in points if not marks[point].exists()]
        found += [] if goes_on else ["no gateway answered after the kills"]
        return found + _ghost_is_gone(ghost)


def _mark(point: Point) -> Path:
    folder = Path(settings.DATA_DIR)
    return folder / f"killed-{str(point).replace(':', '-')}-{time.monotonic_ns()}"


def _all_reached(marks: dict[Point, Path]) -> bool:
    missing = [point for point, mark in marks.items() if not mark.exists()]
    if any(point.name == "bury" for point in missing):
        Clerk()  # one more that falls silent: somebody else may have buried the last
    return not missing


@contextlib.contextmanager
def _worker(**env: str) -> Iterator[None]:
    """A worker that may have died before it is asked to stop."""
    with kit.worker(LEDGER_DEAD_AFTER=DEAD_AFTER, **env):
        yield


def _ghost(stage: Stage) -> list[str]:
    """A process that opened calls and fell silent, and a job nobody finished: to be buried and
    to be expired while everything else goes on."""
    clerk, who = Clerk(), kit.person("ghost")
    ops = [admit(token(who.secret), stage.supplied.model) for _ in range(3)]
    assert all(isinstance(ticket, Ticket) for ticket in clerk.run(*ops))
    names = [op.call.id for op in ops]
    past = clock.now() - timedelta(minutes=1)
    Entry.objects.filter(pk=names[0]).update(process=None, expires_at=past)
    return names


def _ghost_is_gone(names: Sequence[str]) -> list[str]:
    with kit.worker(LEDGER_DEAD_AFTER=DEAD_AFTER):
        kit.eventually(lambda: not Entry.objects.filter(pk__in=names, state="open"), 15, 0.1)
    states = {entry.pk: (entry.state, entry.end_reason) for entry in _calls(names)}
    expected = dict.fromkeys(names, ("released", "crashed")) | {names[0]: ("expired", "timeout")}
    return [] if states == expected else [f"the ghost's calls: {states}"]


def _calls(names: Sequence[str]) -> list[Entry]:
    return list(Entry.objects.filter(pk__in=names))


def _ask_to_leave(stage: Stage, points: Sequence[Point]) -> None:
    sites = iter(stage.sites)
    for point in points:
        site = next(sites) if point.name not in WORKERS else None
        if site and point.name == "leave":
            for pid in site.workers():
                os.kill(pid, signal.SIGTERM)


# ---- any moment


def random_kills(moments: int, dice: random.Random, say: Say = print) -> list[str]:
    """Both workers at once, again and again, whatever they are doing."""
    with Stage(say) as stage:
        site = stage.launch(2)
        missed = 0
        with stage.load() as load:
            for _ in range(moments):
                missed += not load.goes_on(3)
                time.sleep(dice.uniform(0, 0.4))
                site.kill_workers()
            goes_on = load.goes_on()
        found = findings(load)
        say(f"  {moments} kills: {load.summary()}")
        return found + ([] if goes_on and not missed else ["the gateway did not come back"])


def soak(seconds: float, say: Say = print) -> list[str]:
    """Ordinary work for a long time, clients that leave among it: nothing may grow."""
    with Stage(say) as stage, kit.worker():
        site = stage.launch(2)
        with stage.load(16, leaving=0.2) as load:
            time.sleep(min(60.0, seconds / 4))
            before = _memory(site)
            kit.eventually(lambda: False, seconds - min(60.0, seconds / 4), 1.0)
            after = _memory(site)
        found = findings(load)
        say(f"  {seconds:.0f} s: {load.summary()}; memory {before >> 20} to {after >> 20} MB")
        told = {told.status for told in load.told}
        found += [] if told <= {200} else [f"clients were told {told}"]
        return found + ([f"memory grew from {before} to {after}"] if after > before * 1.5 else [])


def _memory(site: Site) -> int:
    """Bytes in memory of the largest worker."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in site.workers()]
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def stopped_worker(dice: random.Random, say: Say = print) -> list[str]:
    """A worker that stands still for longer than a dead one may, and then goes on: it must not."""
    with Stage(say) as stage:
        others = _processes()
        site = stage.launch(2)
        kit.eventually(lambda: len(_processes() - others) >= 2)
        ours = _processes() - others
        with stage.load() as load:
            load.goes_on(20)
            pid = _stop_one(site, load, dice)
            gone = kit.eventually(lambda: ours - _processes(), 15, 0.1)
            os.kill(pid, signal.SIGCONT)
            left = kit.eventually(lambda: pid not in site.workers(), 10, 0.1)
            goes_on = load.goes_on()
        found = findings(load)
        say(f"  stopped and continued: {load.summary()}")
        found += [] if gone else ["the stopped worker was not declared dead"]
        found += [] if left else ["a worker that had been declared dead went on"]
        return found + ([] if goes_on else ["the gateway did not go on"])


def _processes() -> set[str]:
    return set(Process.objects.values_list("id", flat=True))


def _stop_one(site: Site, load: Load, dice: random.Random) -> int:
    """Stop a worker at a moment at which it is in no transaction: nobody could bury it then."""
    while True:
        pid = dice.choice(site.workers())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.3)
        if load.goes_on(5, 1.0) and kit.eventually(_no_transaction_hangs, 1.0):
            return pid
        os.kill(pid, signal.SIGCONT)
        load.goes_on(5)
        time.sleep(dice.uniform(0.05, 0.3))


def _no_transaction_hangs() -> bool:
    """Whether no session sits in a transaction at this moment. SQLite's lock has shown that."""
    if connection.vendor == "sqlite":
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
        )
        return bool(cursor.fetchone()[0] == 0)


# ---- the database


def database_away(how: str, say: Say = print, seconds: float = 5.0) -> list[str]:
    """For longer than anybody's patience, and than the dead are waited for."""
    with Stage(say) as stage, contextlib.ExitStack() as stack:
        take_away = stack.enter_context(AWAY[how]())
        env, others = take_away.env, _processes()
        site = stage.launch(2, LEDGER_PATIENCE="1", CLOSE_PATIENCE="2", **env)
        pids = site.workers()
        with stage.load() as load:
            load.goes_on(20)
            with take_away.gone():
                began = load.answered
                time.sleep(seconds)
                ready = site.get(None, "/readyz").status_code
                during = load.answered - began
            goes_on = load.goes_on()
        found = findings(load)
        say(f"  away ({how}): {load.summary()}, {during} answered meanwhile")
        codes = {told.code for told in load.told if told.code}
        found += [] if codes <= {"quota_unavailable"} else [f"clients were told {codes}"]
        found += [] if "quota_unavailable" in codes else ["nobody was told"]
        found += [] if ready == 503 else [f"/readyz said {ready}"]
        found += [] if goes_on else ["the gateway did not come back"]
        # Only processes that were not away themselves may have declared it dead.
        stayed = set(pids) == set(site.workers()) or bool(others & _processes())
        return found + ([] if stayed else ["a healthy worker was ended"])


class _Flock:
    """SQLite: somebody sits on the ledger's queueing lock."""

    env: dict[str, str] = {}

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        with open(f"{connection.settings_dict['NAME']}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class _Writer:
    """SQLite: a writer that knows nothing of the queue."""

    env: dict[str, str] = {}

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, timeout=20)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.rollback()
            other.close()


class _Refused:
    """PostgreSQL: the server ends the gateway's sessions and takes no new ones of its role."""

    def __init__(self) -> None:
        self.role = kit.unique("role").replace("-", "_")
        self._run(f"CREATE ROLE {self.role} LOGIN SUPERUSER")
        head, _, rest = kit.database_url().partition("@")
        self.env = {"DATABASE_URL": f"{head.rpartition('/')[0]}/{self.role}@{rest}"}

    def _run(self, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        self._run(f"ALTER ROLE {self.role} NOLOGIN")
        self._run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{self.role}'"
        )
        try:
            yield
        finally:
            self._run(f"ALTER ROLE {self.role} LOGIN")


AWAY: dict[str, Callable[[], "contextlib.AbstractContextManager[_Flock | _Writer | _Refused]"]] = {
    "flock": lambda: contextlib.nullcontext(_Flock()),
    "writer": lambda: contextlib.nullcontext(_Writer()),
    "refused": lambda: contextlib.nullcontext(_Refused()),
}


def ways_to_be_away() -> list[str]:
    return ["flock", "writer"] if connection.vendor == "sqlite" else ["refused"]


def server_crash(moments: int, dice: random.Random, say: Say = print) -> list[str]:
    """PostgreSQL loses a backend to SIGKILL: every session ends, and it recovers by itself."""
    with Stage(say) as stage:
        stage.launch(2)
        with stage.load() as load:
            for _ in range(moments):
                load.goes_on(20)
                time.sleep(dice.uniform(0, 0.3))
                _crash()
            goes_on = load.goes_on()
        found = findings(load)
        say(f"  {moments} crashes of the server: {load.summary()}")
        return found + ([] if goes_on else ["the gateway did not come back"])


def _crash() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()[0]
    os.kill(own, signal.SIGKILL)
    connection.close()
    kit.eventually(_reachable, 20, 0.2)


def _reachable() -> bool:
    try:
        return Process.objects.count() >= 0
    except OperationalError:
        connection.close()
        return False

"""`manage.py worker`: what must happen without anybody asking: probes, syncs, expiry, the watch,
and three things with a thread of their own: the end of jobs, which a provider may take minutes to
tell; the ledger's audit, which reads all there is; what people are told, for mail may be slow.

Every turn looks for rows that are due. Nothing is queued, so nothing is lost by a kill.
"""

import logging
import signal
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, connection

from bsod.lib import clock
from bsod.notices import collect, post
from proxy import objects, rechecks, service, stats
from proxy.donations import service as donations
from proxy.gateway import jobs
from quotas import audit, heartbeat, outcomes
from quotas.processes import Watch, close_expired

log = logging.getLogger("bsod.worker")
SYNC_EVERY = timedelta(hours=1)
_LEAVING = 5.0  # seconds that a look at a job has to end when the worker is stopped
_ASKED = 5.0  # seconds after which an audit begins at the latest that somebody has asked for
_TOLD = 5.0  # seconds after which people are told of something at the latest


class Chore(NamedTuple):
    """Something done every `every` seconds."""

    name: str
    every: float
    do: Callable[[datetime], Any]


def chores() -> list[Chore]:
    watch = Watch()
    return [
        Chore("probe", settings.PROBE_EVERY, service.probe_due),
        Chore("recheck", settings.PROBE_EVERY, rechecks.ask_due),
        Chore("donations", settings.PROBE_EVERY, donations.sweep),
        Chore("watch", settings.LEDGER_BEAT, lambda now: watch.look()),
        Chore("expire", settings.LEDGER_BEAT, close_expired),
        Chore("sync", 60.0, lambda now: service.sync_due(now, SYNC_EVERY)),
        Chore("limits", 600.0, service.forget_old_limits),
        Chore("expired jobs", 60.0, jobs.drop_expired),
        Chore("expired objects", 600.0, objects.purge_expired),
        Chore("expired outcomes", 600.0, outcomes.purge_expired),
        Chore("old statistics", 600.0, stats.purge),
        # Last: it says that the others have had their turn.
        Chore("beat", heartbeat.EVERY, heartbeat.beat),
    ]


def job_chores() -> list[Chore]:
    return [Chore("jobs", settings.JOB_POLL_EVERY, jobs.poll_due)]


def notice_chores() -> list[Chore]:
    return [
        Chore("notices", _TOLD, collect.collect),
        Chore("mail", _TOLD, post.send_due),
        Chore("old notices", 3600.0, collect.forget_old),
    ]


def audit_chores() -> list[Chore]:
    return [Chore("audit", _ASKED, audit.run_due)]


class Command(BaseCommand):
    # Whoever starts it has checked (`bsod.launch`, `migrate` in the compose file), and the checks
    # read all pages, which it has no use for.
    requires_system_checks = ()
    help = "Run the background chores until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        # Daemons: a job that one is cut off at is looked at again when its claim has ended.
        beside = [
            threading.Thread(target=run, args=(todo, stop), name=todo[0].name, daemon=True)
            for todo in (job_chores(), audit_chores(), notice_chores())
        ]
        for thread in beside:
            thread.start()
        run(chores(), stop)
        for thread in beside:
            thread.join(_LEAVING)


def run(todo: list[Chore], stop: threading.Event) -> None:
    """Do each chore when it is due, until told to stop; one that fails is tried again later."""
    due = {chore.name: 0.0 for chore in todo}
    while not stop.is_set():
        for chore in todo:
            if due[chore.name] <= clock.monotonic():
                due[chore.name] = clock.monotonic() + chore.every
                _do(chore)
        stop.wait(max(0.05, min(due.values()) - clock.monotonic()))


def _do(chore: Chore) -> None:
    try:
        chore.do(clock.now())
    except Error as error:
        log.error("%s: the database is away (%s)", chore.name, type(error).__name__)
        connection.close()
    except Exception:
        log.exception("%s failed; it is tried again", chore.name)

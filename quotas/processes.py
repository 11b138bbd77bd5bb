"""Which gateway processes live, and the end of the entries of those that do not (DESIGN §4).

Every batch of a process adds one to its row's `beat`. Everybody watches: a beat that stood still
for `LEDGER_DEAD_AFTER` seconds of the watcher's own monotonic clock is a dead process. Its row
goes first, so that it cannot commit again; then its open entries are closed at 0, `crashed`.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection

from accounts.keys.identity import lock_accounts
from bsod.lib import clock, ids, sql
from bsod.lib.groupcommit import ProcessGone, exclusive
from bsod.lib.steps import step
from bsod.lib.terms import EndReason, EntryState
from quotas.models import Entry, Process
from quotas.settling import End, settle

log = logging.getLogger("bsod.ledger")
_CHUNK = 200


class Heart:
    """This process's own row. Used by the ledger thread alone."""

    def __init__(self) -> None:
        self.id = ids.ulid()
        self._beat = 0
        self._registered = False

    @step("register")
    def register(self) -> None:
        """Insert the row, once; the database may be away at start, so this may be tried again."""
        if not self._registered:
            with exclusive("process start"):
                Process.objects.get_or_create(id=self.id)
            self._registered = True

    def beat(self, cursor: sql.Cursor, wanted: str) -> Any:
        """First statement of a batch. Returns the value of `wanted`, an expression read with it.
        Raises ProcessGone when others declared us dead."""
        if not self._registered:
            raise OperationalError("the process has no row yet")
        cursor.execute(
            f"{sql.update(Process, ('beat',))} RETURNING {wanted}", (self._beat + 1, self.id)
        )
        rows = cursor.fetchall()
        if not rows:
            raise ProcessGone(self.id)
        self._beat += 1
        return rows[0][0]

    def landed(self) -> bool:
        """Whether the batch that beat last has been committed.

        Asked under the row's lock: a commit that lost its connection may still be going on in
        the server, and holds that lock until it has ended one way or the other.
        """
        with exclusive("landed"):
            own = Process.objects.select_for_update().filter(id=self.id).first()
        if own is None:
            raise ProcessGone(self.id)
        return own.beat == self._beat

    @step("leave")
    def stop(self) -> None:
        """Leave; entries still open (there should be none) are closed by whoever looks next."""
        with exclusive("process stop"):
            Process.objects.filter(id=self.id).delete()


class Watch:
    """The beats of the others, and since when each stands still.

    Only time in which we could look counts. After a while without (we were stopped, or the
    database was away, for the others too) all begin anew: or the first to come back from an
    outage would bury everybody else.
    """

    def __init__(self, dead_after: float | None = None) -> None:
        self._dead_after = settings.LEDGER_DEAD_AFTER if dead_after is None else dead_after
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = 0.0

    def look(self, own: str | None = None) -> int:
        """Declare the silent dead and close what the dead left open; returns entries closed."""
        before = clock.monotonic()
        beats = dict(Process.objects.exclude(id=own).values_list("id", "beat"))
        # A beat was read at some moment of the look: it stood still from its end on at least,
        # and at the next look until its beginning.
        after = clock.monotonic()
        known = self._seen if before - self._looked < self._dead_after / 2 else {}
        self._seen = {
            process: known[process]
            if process in known and known[process][0] == beat
            else (beat, after)
            for process, beat in beats.items()
        }
        try:
            for process, (beat, since) in self._seen.items():
                if before - since > self._dead_after:
                    bury(process, beat)
            return close_orphans()
        finally:
            # Digging took its time; it was no time away.
            self._looked = clock.monotonic()


@step("bury")
def bury(process: str, beat: int) -> None:
    """Delete a dead process's row, unless it has beaten since.

    A row that is locked is in the middle of a batch, which nobody should wait for: that one is
    looked at again, when its session has ended one way or the other.
    """
    with exclusive("bury"):
        rows = Process.objects.select_for_update(skip_locked=True).filter(id=process, beat=beat)
        dead = rows.first()
        if dead:
            dead.delete()
    if dead:
        log.warning("a process stopped without closing its calls; they are closed at 0")


@step("close_orphans")
def close_orphans() -> int:
    """Close at 0 every open entry whose process has no row any more."""
    orphans = Entry.objects.filter(state=EntryState.OPEN, process__isnull=False).exclude(
        process__in=Process.objects.values("id")
    )
    return _close_all(lambda: orphans.values_list("id", "account_id")[:_CHUNK], EntryState.RELEASED)


@step("close_expired")
def close_expired(now: datetime) -> int:
    """Close at 0 every open entry of a job that nobody finished in time."""
    due = Entry.objects.filter(state=EntryState.OPEN, expires_at__lte=now)
    return _close_all(lambda: due.values_list("id", "account_id")[:_CHUNK], EntryState.EXPIRED)


def _close_all(find: Callable[[], Iterable[tuple[str, int]]], state: EntryState) -> int:
    reason = EndReason.CRASHED if state is EntryState.RELEASED else EndReason.TIMEOUT
    closed = 0
    while found := dict(find()):
        with exclusive("close orphans"), connection.cursor() as cursor:
            lock_accounts(cursor, set(found.values()))
            closed += len(settle(cursor, [End(entry, reason, unpaid=state) for entry in found]))
    return closed

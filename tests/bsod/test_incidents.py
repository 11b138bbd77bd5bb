"""Notes of the status page: an admin writes them, everybody reads them, and they stay text."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import AuditEvent
from bsod import monitoring
from bsod.incidents.models import Incident, State, recent
from bsod.lib import clock
from tests import kit
from tests.upstream import FaultServer

pytestmark = pytest.mark.once
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


@pytest.fixture
def word() -> Iterator[str]:
    """What the titles of a test's notes begin with; they are gone after it."""
    word = kit.unique("Note")
    yield word
    Incident.objects.filter(title__startswith=word).delete()


@pytest.fixture
def pages(word: str) -> Iterator[Client]:
    monitoring.forget()
    yield Client(headers={"host": "localhost"})
    monitoring.forget()


def board(pages: Client, language: str = "en") -> str:
    monitoring.forget()
    headers = {"Accept": "text/html", "Accept-Language": language}
    return str(pages.get("/status/", headers=headers).content.decode())


def test_what_an_admin_writes_is_recorded_and_read_by_everybody(pages: Client, word: str) -> None:
    boss = kit.staff_client(kit.person("boss", admin=True).account)
    title = f"{word}: slow answers"
    form = {
        "title": title, "text": "We wait for\nthe provider.", "state": "investigating",
        "provider": "", "began_at_0": "2026-11-21", "began_at_1": "19:04:00", "ended_at_0": "",
        "ended_at_1": "",
    }  # fmt: skip
    answer = boss.post("/admin/incidents/incident/add/", form)
    assert answer.status_code == 302
    event = AuditEvent.objects.filter(target_text=title).get()
    assert (event.verb, event.target_kind) == ("add", "incidents.incident")
    english, russian = board(pages), board(pages, "ru")
    assert "21 Nov, 19:04 UTC · being looked into" in english
    assert f"<h3>{title}</h3><p>We wait for<br>the provider.</p>" in english
    assert "21 ноя" in russian.lower()
    assert title in russian


def test_a_note_stays_text(pages: Client, word: str) -> None:
    Incident.objects.create(title=word + EVIL, text=EVIL)
    for language in ("en", "ru"):
        page = board(pages, language)
        assert "<script>alert" not in page
        assert "<img" not in page.partition('class="notes"')[2]
        assert page.count("&lt;script&gt;alert(1)") == 2


def test_programs_read_the_same_notes_as_json(pages: Client, word: str, up: FaultServer) -> None:
    provider = kit.supply(up).provider
    began = clock.now().replace(microsecond=0) - timedelta(hours=2)
    over = began + timedelta(hours=1)
    Incident.objects.create(
        title=word, text="It was the network.", state="resolved", provider=provider,
        began_at=began, ended_at=over,
    )  # fmt: skip
    for path in ("/status/", "/status/raw/"):
        told = pages.get(path, headers={"Accept": "application/json"}).json()["incidents"]
        assert next(one for one in told if one["title"] == word) == {
            "title": word, "text": "It was the network.", "state": "resolved",
            "provider": provider.slug, "started_at": int(began.timestamp()),
            "ended_at": int(over.timestamp()),
        }  # fmt: skip


def test_open_notes_come_first_and_old_ones_go(pages: Client, word: str) -> None:
    now = clock.now()

    def note(title: str, state: str, began: int, ended: int | None = None) -> None:
        until = None if ended is None else now - timedelta(days=ended)
        began_at = now - timedelta(days=began)
        Incident.objects.create(
            title=f"{word} {title}", state=state, began_at=began_at, ended_at=until
        )

    note("long open", "watching", 40)
    note("over", "resolved", 2, 1)
    note("forgotten", "resolved", 60, 50)
    note("tomorrow", "planned", -1, -2)
    titles = [one.title for one in recent(now, timedelta(days=14)) if word in one.title]
    assert titles == [f"{word} {name}" for name in ("tomorrow", "long open", "over")]
    page = board(pages)
    assert page.index(titles[0]) < page.index(titles[1])
    assert "forgotten" not in page


def test_what_is_over_has_an_end_and_no_end_comes_first() -> None:
    one = Incident(title="x", state=State.OVER)
    one.full_clean()
    assert one.ended_at is not None
    early = one.began_at - timedelta(minutes=1)
    with pytest.raises(ValidationError, match="ends before it begins"):
        Incident(title="x", state=State.LOOKING, ended_at=early).full_clean()
    later = clock.now() + timedelta(hours=1)
    with pytest.raises(ValidationError, match="has ended by now"):
        Incident(title="x", state=State.OVER, ended_at=later).full_clean()

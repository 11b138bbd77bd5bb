"""The Usage tab: its list of calls is turned and narrowed, its table opens in a spreadsheet."""

import csv
import io
import re
from itertools import chain

import pytest

from accounts.keys.service import create_key
from bsod.console import calls
from bsod.lib import clock
from quotas.models import Entry, UsageDay
from tests.bsod.console.visit import Visitor, visitor
from tests.kit import Person

pytestmark = pytest.mark.once  # about the page, not about the database


def called(person: Person, count: int, key: int, first: int = 0) -> list[str]:
    """That many closed calls with a key; their models, which tell them apart, newest first."""
    rows = [
        Entry(id=f"01K{first + number:023d}", account=person.account, api_key_id=key, status=200,
              bucket="text.base", day="2026-01-01", state="settled", model=f"m-{first + number}")
        for number in range(count)
    ]  # fmt: skip
    for row in rows:  # ids are everybody's
        row.id = f"{row.id[:3]}{person.account.pk:08d}{row.id[11:]}"
    Entry.objects.bulk_create(rows)
    return [row.model for row in reversed(rows)]


def shown(page: str) -> list[str]:
    return re.findall(r"<code>(m-\d+)</code>", page)


def older(page: str) -> str:
    found = re.search(r'href="([^"]+)" rel="next">Older', page)
    return found.group(1).replace("&amp;", "&") if found else ""


def pages_of(guest: Visitor, path: str) -> list[list[str]]:
    """The calls of one page after another, by what each calls the older ones."""
    found = []
    while path:
        text = guest.text(path)
        found.append(shown(text))
        path = f"/usage/{older(text)}" if older(text) else ""
    return found


def test_calls_are_turned_and_narrowed_to_one_key(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    rare, _ = create_key(alice.account, "rare")
    mine = called(alice, 2, rare.pk)
    others = called(alice, 45, alice.key.pk, first=2)
    guest = visitor(alice)
    everything = pages_of(guest, "/usage/")
    assert [len(page) for page in everything] == [20, 20, 7]
    assert [*chain(*everything)] == [*others, *mine]
    assert pages_of(guest, f"/usage/?key={rare.pk}") == [mine]
    monkeypatch.setattr(calls, "SEARCHED", 30)
    narrowed = pages_of(guest, f"/usage/?key={rare.pk}")
    assert [*chain(*narrowed)] == mine, "far back, but not out of reach"
    assert "None here." in guest.text(f"/usage/?key={rare.pk}")
    for odd in ("%00", "é", "'"):
        assert guest.get(f"/usage/?before={odd}").status_code == 200


def test_the_chosen_key_is_in_the_list_however_many_there_are(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, _ = create_key(alice.account, "zzz")
    monkeypatch.setattr("bsod.console.usage.MOST_KEYS", 1)
    page = visitor(alice).text(f"/usage/?key={last.pk}")
    assert f'<option value="{last.pk}" selected>zzz</option>' in page


def test_the_table_of_a_person_opens_in_a_spreadsheet(alice: Person) -> None:
    key, _ = create_key(alice.account, '=Ключ, "да"')
    UsageDay.objects.create(
        account=alice.account, api_key=key, model="@m", bucket="text.base", calls=1, amount=7,
        day=clock.day_of(clock.now()),
    )  # fmt: skip
    guest = visitor(alice)
    answer = guest.get("/usage/?format=csv&by=day,model,key")
    assert answer.content.startswith(b"\xef\xbb\xbf"), "or Excel shows other letters"
    (row,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert (row["key_name"], row["model"], row["amount"]) == ('\'=Ключ, "да"', "'@m", "7")
    assert guest.get("/usage/?format=csv&model=%00").status_code == 400

"""`GET /usage/`: an account's own sums, from the rollup alone, as JSON and as a table."""

import csv
import io
import json
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory

from accounts.keys.models import ApiKey
from accounts.keys.service import create_key
from bsod import usage as view
from bsod.lib import clock
from bsod.lib.sheet import cell
from quotas import usage
from quotas.models import UsageDay
from quotas.usage import By, Span, TooMany
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import Reply, once
from tests.upstream import FaultServer, chat, error

TODAY = clock.now().date()
COLUMNS = ["day", "model", "key_id", "key_name", "bucket", "calls", "amount", "prompt_tokens",
           "completion_tokens"]  # fmt: skip


def ago(days: int) -> str:
    return (TODAY - timedelta(days)).isoformat()


def ask(site: Site, who: Person, query: str = "", *headers: tuple[str, str]) -> Reply:
    return once(site, "GET", f"/usage/{query and '?' + query}", [*who.auth.items(), *headers])


def shown(site: Site, who: Person, query: str = "") -> Any:
    reply = ask(site, who, query)
    assert (reply.status, reply.header("content-type")) == (200, "application/json"), reply
    assert reply.header("cache-control") == "no-store"
    return json.loads(reply.body)


def noted(who: Person, days: int = 0, model: str = "m", key: ApiKey | None = None,
          bucket: str = "text.base", calls: int = 1, amount: int = 10) -> None:  # fmt: skip
    """A day's sums, as closes would have added them up."""
    UsageDay.objects.create(
        account=who.account, api_key=key or who.key, model=model, bucket=bucket, day=ago(days),
        calls=calls, amount=amount, prompt_tokens=amount // 2, completion_tokens=amount // 2,
    )  # fmt: skip


@pytest.fixture
def second(alice: Person) -> ApiKey:
    """Another key of alice's, with a name that a spreadsheet would compute."""
    return create_key(alice.account, "=1+1")[0]


def test_calls_are_summed_by_day_model_and_key(
    site: Site, up: FaultServer, alice: Person, second: ApiKey
) -> None:
    one, other = kit.supply(up), kit.supply(up, tier="pro")
    up.default = chat(prompt_tokens=30, completion_tokens=4)
    for supplied in (one, one, other):
        assert site.chat(alice, supplied).status_code == 200
    up.default = error(400, "no")
    assert site.chat(alice, one).status_code == 400
    alice.closed(4)

    body = shown(site, alice, "by=day,model,key")

    assert {name: body[name] for name in ("object", "from", "to", "by")} == {
        "object": "usage", "from": ago(29), "to": ago(0), "by": ["day", "model", "key"],
    }  # fmt: skip
    expected = [
        {"day": ago(0), "model": supplied.model, "key": {"id": alice.key.pk, "name": "alice"},
         "bucket": bucket, "calls": calls, "amount": 34 * calls, "prompt_tokens": 30 * calls,
         "completion_tokens": 4 * calls}
        for supplied, bucket, calls in ((one, "text.base", 2), (other, "text.pro", 1))
    ]  # fmt: skip
    assert sorted(body["data"], key=str) == sorted(expected, key=str)
    assert body["totals"] == {
        "calls": 3, "prompt_tokens": 90, "completion_tokens": 12,
        "amount": {"text.base": 68, "text.pro": 34},
    }  # fmt: skip


def test_a_row_is_of_what_is_asked_for_and_of_one_bucket(
    site: Site, alice: Person, second: ApiKey
) -> None:
    noted(alice, 0, "a", amount=10)
    noted(alice, 1, "a", second, amount=20)
    noted(alice, 1, "b", second, amount=40)
    noted(alice, 1, "p", bucket="image", amount=4)

    def rows(query: str) -> list[tuple[Any, ...]]:
        found = shown(site, alice, query)["data"]
        keys = [row["key"] and row["key"]["id"] for row in found]
        return [
            (row["day"], row["model"], key, row["bucket"], row["amount"])
            for row, key in zip(found, keys, strict=True)
        ]

    assert rows("") == rows("by=day") == rows("by=") == [
        (ago(1), None, None, "image", 4), (ago(1), None, None, "text.base", 60),
        (ago(0), None, None, "text.base", 10),
    ]  # fmt: skip
    assert rows("by=model") == [
        (None, "a", None, "text.base", 30), (None, "b", None, "text.base", 40),
        (None, "p", None, "image", 4),
    ]  # fmt: skip
    assert rows("by=key,model") == [
        (None, "a", alice.key.pk, "text.base", 10), (None, "a", second.pk, "text.base", 20),
        (None, "b", second.pk, "text.base", 40), (None, "p", alice.key.pk, "image", 4),
    ]  # fmt: skip
    assert rows("by=bucket") == [
        (None, None, None, "image", 4), (None, None, None, "text.base", 70)
    ]  # fmt: skip
    assert rows(f"by=day&key={second.pk}") == [(ago(1), None, None, "text.base", 60)]
    assert rows("by=day&key=%3D1%2B1&model=b") == [(ago(1), None, None, "text.base", 40)]
    assert rows("by=day&model=unheard-of") == []


def test_the_days_are_those_asked_for_both_ends_included(site: Site, alice: Person) -> None:
    for days in (0, 29, 30, 100, 399, 400):
        noted(alice, days, amount=1000 + days)

    def days(query: str) -> list[str]:
        return [row["day"] for row in shown(site, alice, query)["data"]]

    assert days("") == [ago(29), ago(0)]
    assert days(f"from={ago(30)}") == [ago(30), ago(29), ago(0)]
    assert days(f"from={ago(399)}") == [ago(399), ago(100), ago(30), ago(29), ago(0)]
    assert days(f"to={ago(30)}") == [ago(30)]
    assert days(f"from={ago(100)}&to={ago(30)}") == [ago(100), ago(30)]
    assert days(f"from={ago(100)}&to={ago(100)}") == [ago(100)]
    assert days("to=0001-01-01") == []


def test_nobody_sees_anothers_usage(site: Site, alice: Person, bob: Person) -> None:
    noted(alice)
    noted(bob, amount=77)

    assert [row["amount"] for row in shown(site, alice)["data"]] == [10]
    for key in (str(bob.key.pk), "bob", "nobody", "-1", "9" * 40, "%27 OR 1=1".replace(" ", "+")):
        reply = ask(site, alice, f"key={key}")
        assert (reply.status, reply.error["code"]) == (404, "not_found"), key
        assert reply.error["param"] == "key"
    other = Person(alice.account, *create_key(alice.account, "second"))
    assert shown(site, other) == shown(site, alice), "the bearer of an account sees it whole"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("by=hour", "by"), ("by=day,,model", "by"), ("by=day&by=model", "by"),
        ("from=yesterday", "from"), ("from=20261121", "from"), ("from=2026-02-30", "from"),
        ("from=2026-1-1", "from"), ("to=2026-13-01", "to"), ("to=%D9%A2026-01-01", "to"),
        (f"from={ago(1)}&to={ago(2)}", "from"), (f"from={ago(400)}", "from"),
        ("from=0001-01-01&to=9999-12-31", "from"), ("format=xml", "format"),
        ("model=a%00b", "model"), ("key=" + "x" * 300, "key"), ("form=2026-01-01", "form"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_400_that_names_it(
    site: Site, alice: Person, query: str, param: str
) -> None:
    reply = ask(site, alice, query)

    assert (reply.status, reply.error["code"]) == (400, "invalid_value"), reply
    assert reply.error["param"] == param
    assert reply.header("cache-control") == "no-store"


def test_as_a_table_it_computes_nothing_on_the_readers_machine(
    site: Site, alice: Person, second: ApiKey
) -> None:
    noted(alice, 0, "@SUM(1)", second, amount=20)
    noted(alice, 0, "a,\"b\"", amount=6)  # fmt: skip

    reply = ask(site, alice, "by=day,key,model&format=csv")

    assert (reply.status, reply.header("content-type")) == (200, "text/csv; charset=utf-8")
    named = f'attachment; filename="usage-{ago(29)}-{ago(0)}.csv"'
    assert reply.header("content-disposition") == named
    assert reply.header("cache-control") == "no-store"
    assert reply.header("x-request-id")
    head, *rows = csv.reader(io.StringIO(reply.body.decode()))
    assert head == COLUMNS
    assert sorted(rows) == sorted([
        [ago(0), "'@SUM(1)", str(second.pk), "'=1+1", "text.base", "1", "20", "10", "10"],
        [ago(0), 'a,"b"', str(alice.key.pk), "alice", "text.base", "1", "6", "3", "3"],
    ])  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "＝1", "\n=1"])
def test_the_beginning_of_a_formula_is_made_text(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(f"a{text}") == f"a{text}"


@pytest.mark.once
@pytest.mark.parametrize(
    ("query", "accept", "table"),
    [
        ("", None, False), ("", "text/csv", True), ("", "*/*", False), ("", "text/html", False),
        ("", "text/csv, */*", True), ("", "application/json, text/csv", False), ("", "", False),
        ("", "text/csv;q=0.1, application/json", False), ("", "text/csv;q=0", False),
        ("", "nonsense", False), ("format=json", "text/csv", False), ("format=csv", "*/*", True),
    ],
)  # fmt: skip
def test_the_format_is_the_querys_or_else_what_is_accepted(
    site: Site, alice: Person, query: str, accept: str | None, table: bool
) -> None:
    reply = ask(site, alice, query, *([("Accept", accept)] if accept is not None else []))

    assert reply.status == 200
    assert (reply.header("content-type") or "").startswith("text/csv") is table


@pytest.mark.parametrize("path", ["/usage", "/usage/", "/usage/?format=csv"])
def test_it_needs_a_key_and_its_permission(site: Site, path: str) -> None:
    mute = kit.person("mute", permissions=["images"])

    stranger = once(site, "GET", path, [("Accept", "text/csv")])
    refused = once(site, "GET", path, [*mute.auth.items(), ("Accept", "text/csv")])

    assert (stranger.status, stranger.error["code"]) == (401, "invalid_api_key")
    assert (refused.status, refused.error["permission"]) == (403, "balance")
    assert once(site, "POST", path, [*mute.auth.items()]).status == 405
    assert once(site, "GET", "/usage/more", [*mute.auth.items()]).error["code"] == "not_found"


def test_more_rows_than_an_answer_can_have_are_refused(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in range(4):
        noted(alice, days)
    monkeypatch.setattr(usage, "MOST_ROWS", 3)
    with pytest.raises(TooMany):
        usage.used(alice.account.pk, Span(ago(9), ago(0)))
    assert len(usage.used(alice.account.pk, Span(ago(2), ago(0)))) == 3

    asked = RequestFactory().get("/usage/", headers=alice.auth)
    answer = view.Usage.as_view()(asked)

    assert answer.status_code == 400
    assert answer.data["error"]["param"] == "by"


@pytest.mark.once  # PostgreSQL plans by what it has counted
@pytest.mark.parametrize("by", [(), (By.DAY,), tuple(By)])
def test_only_the_rows_of_the_account_and_its_days_are_read(alice: Person, by: Any) -> None:
    for span in (Span("2026-01-01", "2026-12-31", by),
                 Span("2026-01-01", "2026-12-31", by, [1, 2], "m")):  # fmt: skip
        query = usage.query(alice.account.pk, span)
        (plan, *_) = query.explain().splitlines()
        assert "SEARCH quotas_usageday USING INDEX" in plan
        assert "(account_id=? AND day>? AND day<?" in plan
        assert "quotas_entry" not in str(query.query)
    assert connection.vendor == "sqlite"


@pytest.mark.once
def test_without_days_the_last_thirty_are_meant() -> None:
    today = date(2026, 3, 1)
    span = view.span_of({}, {}, today)
    assert (span.first, span.last) == ("2026-01-31", "2026-03-01")
    assert view.span_of({"to": "2026-02-10"}, {}, today).first == "2026-01-12"

"""The Models tab: each model's last 24 hours at each provider, as bars and in words."""

import re
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bsod.drawing import THIN
from bsod.lib import clock
from proxy import stats
from proxy.models import Stat
from proxy.pool import bump
from proxy.stats import Key, Step
from tests import kit
from tests.bsod.console.visit import visitor
from tests.upstream import FaultServer


@pytest.fixture
def called(up: FaultServer) -> Iterator[kit.Supply]:
    """A model that answered all of an hour, some of another, none of a third."""
    supplied = kit.supply(up)
    now, route = stats.beginning(Step.HOUR, clock.now()), kit.unique("POST /r")
    slug, model = supplied.provider.slug, supplied.model

    def count(age: int, status: str, calls: int, provider: str = slug) -> None:
        cell = [calls, *[0] * (stats.WIDTH - 1)]
        stats.add({(now - timedelta(hours=age), Key(route, provider, model, status)): cell})

    count(1, "2xx", 4)
    count(2, "2xx", 9)
    count(2, "cut", 1)
    count(3, "5xx", 4)
    count(3, "404", 90)  # a client's own mistake is no failure
    count(30, "5xx", 99)  # too long ago
    count(1, "5xx", 50, "elsewhere")  # at another provider
    bump()
    yield supplied
    Stat.objects.filter(route=route).delete()


def row_of(supplied: kit.Supply) -> str:
    """A large catalogue is read anew while the last reading is still shown."""
    visit = visitor(kit.person("looker"))

    def row() -> str:
        page = visit.text(f"/models/?provider={supplied.provider.slug}")
        return page.partition(f">{supplied.model}</code>")[2].partition("</tr>")[0]

    return str(kit.eventually(row))


def test_a_models_last_day_is_drawn_and_said(called: kit.Supply) -> None:
    row = row_of(called)
    hour = stats.beginning(Step.HOUR, clock.now())
    said = re.search("<title>(.*?)</title>", row)
    assert said is not None
    partly, none = (f"{hour - timedelta(hours=n):%H:%M}" for n in (2, 3))
    expected = f"72.2{THIN}% answered in 24 hours; {none}: 0{THIN}%; {partly}: 90{THIN}%"
    assert said[1] == expected
    bars = {
        look: path.count("M") for look, path in re.findall(r'<path class="(\w+)" d="(.*?)"', row)
    }
    assert bars == {"none": 21, "ok": 1, "slow": 1, "down": 1}


@pytest.mark.once
def test_a_model_nobody_called_has_stubs_and_says_so(up: FaultServer) -> None:
    supplied = kit.supply(up)
    bump()
    row = row_of(supplied)
    assert "<title>no calls in 24 hours</title>" in row
    assert re.findall(r'<path class="(\w+)"', row) == ["none"]


@pytest.mark.once
def test_a_model_that_ends_some_day_says_when(up: FaultServer) -> None:
    supplied = kit.supply(up, shutdown_date=date(2099, 3, 1))
    assert "until 1 Mar 2099" in row_of(supplied)


def test_the_hours_of_all_models_are_one_question_answered_by_an_index(called: kit.Supply) -> None:
    visit = visitor(kit.person("looker"))
    visit.get("/models/")
    with CaptureQueriesContext(connection) as seen:
        visit.get("/models/")
    asked = [query["sql"] for query in seen if "proxy_stat" in query["sql"]]
    assert len(asked) == 1
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {asked[0]}")
            plan = str(cursor.fetchall())
        assert "stat_of_model (model=? AND step=? AND at>?)" in plan

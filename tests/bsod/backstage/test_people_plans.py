"""Plans in the admin: a number for each bucket, and whom a change is for."""

import re

import pytest
from django.test import Client

from accounts.models import Plan
from tests import kit
from tests.bsod.backstage.test_people import superuser
from tests.kit import staff_client

pytestmark = pytest.mark.once  # about pages, not about the database

PLAN = "/admin/accounts/plan/"
FIELDS = {"name": "P", "kind": "buckets", "requests_per_minute": "9", "open_calls": "9",
          "credits_per_period": "0", "period_days": "30"}  # fmt: skip


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return staff_client(superuser())


@pytest.fixture
def plan() -> Plan:
    made: Plan = Plan.objects.create(slug=kit.unique("plan"), name="P", caps={"image": 4})
    return made


@pytest.mark.parametrize("cap", ["-1", "1.5", "true", "1e30", str(10**16), "x"])
def test_a_plan_takes_only_caps_that_can_be_drawn(root: Client, plan: Plan, cap: str) -> None:
    page = root.post(f"{PLAN}{plan.pk}/change/", {**FIELDS, "cap_image": cap})
    assert page.status_code == 200
    assert "cap_image" in page.context["adminform"].form.errors
    plan.refresh_from_db()
    assert plan.caps == {"image": 4}


def test_a_plan_says_whom_it_touches_and_keeps_nothing_it_was_not_told(
    root: Client, plan: Plan
) -> None:
    kit.person("jo", plan=plan.pk)
    page = root.get(f"{PLAN}{plan.pk}/change/")
    assert "for 1 account." in page.content.decode()
    assert re.search(r'name="cap_image" value="4"', page.content.decode())
    said = {**FIELDS, "cap_image": "0", "cap_text.base": "100"}
    saved = root.post(f"{PLAN}{plan.pk}/change/", said, follow=True)
    assert "for 1 account." in saved.content.decode()
    plan.refresh_from_db()
    assert plan.caps == {"image": 0, "text.base": 100}
    free = root.post(f"{PLAN}free/change/", {**FIELDS, "kind": "credits"})
    assert "must have buckets" in str(free.context["adminform"].form.errors)

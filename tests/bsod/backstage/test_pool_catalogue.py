"""The catalogue in the admin: fields fixed one by one or for many, and what holds beside."""

from datetime import date

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent
from bsod.lib import clock
from proxy import rests
from proxy.models import Model, Offer, Provider
from proxy.pool import bump
from tests import kit
from tests.bsod.backstage.poolside import act, superuser
from tests.upstream import FaultServer

pytestmark = pytest.mark.once  # pages; what fixing does is tested on both (test_catalogue_sync)

MODELS = "/admin/proxy/model/"


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return superuser()


def form(row: Model, **changed: str) -> dict[str, str]:
    """A model's form as it is, but for what is changed."""
    return {
        "modality": row.modality,
        "tier": row.tier,
        "context_window": str(row.context_window or ""),
        "max_output": str(row.max_output or ""),
        "credits_per_1k_input": str(row.credits_per_1k_input),
        "credits_per_1k_output": str(row.credits_per_1k_output),
        "credits_per_call": str(row.credits_per_call),
        "shutdown_date": row.shutdown_date.isoformat() if row.shutdown_date else "",
        **changed,
    }


def listed(client: Client, query: str) -> set[str]:
    page = client.get(f"{MODELS}?{query}")
    assert page.status_code == 200
    return {row.name for row in page.context["cl"].result_list}


def several(up: FaultServer, count: int = 2) -> tuple[str, list[Model]]:
    stem = kit.unique("many")
    names = [kit.supply(up, model=f"{stem}-{n}").model for n in range(count)]
    return stem, list(Model.objects.filter(name__in=names).order_by("name"))


def test_a_field_set_in_the_form_is_fixed_and_no_other(root: Client, up: FaultServer) -> None:
    row = Model.objects.get(name=kit.supply(up).model)
    place = f"{MODELS}{row.pk}/change/"
    saved = root.post(place, form(row, credits_per_1k_input="77", speaks="chat"))
    assert saved.status_code == 302
    row.refresh_from_db()
    assert (row.fixed, row.credits_per_1k_input, row.speaks) == (
        ["credits_per_1k_input", "speaks"], 77, ["chat"],
    )  # fmt: skip
    assert root.post(place, form(row, speaks="chat")).status_code == 302
    row.refresh_from_db()
    assert row.fixed == ["credits_per_1k_input", "speaks"], "nothing was changed"
    refused = root.post(place, form(row, speaks="images"))
    assert "Select a valid choice" in str(refused.context["adminform"].form.errors)
    event = AuditEvent.objects.filter(target_kind="proxy.model", target_id=str(row.pk)).last()
    assert event is not None
    first = AuditEvent.objects.filter(target_kind="proxy.model", target_id=str(row.pk))[1:].first()
    assert first is not None
    assert first.facts["changed"]["credits_per_1k_input"][1] == 77


def test_what_rules_and_lists_say_stands_beside_what_is_fixed(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up, max_output=99)
    Offer.objects.filter(provider=supplied.provider).update(listed={"output": 4096})
    row = Model.objects.get(name=supplied.model)
    root.post(f"{MODELS}{row.pk}/change/", form(row, max_output="50"))
    page = root.get(f"{MODELS}{row.pk}/change/").content.decode()
    assert "set here" in page
    assert "4,096" in page
    assert supplied.provider.slug in page
    assert "max output (else 4,096)" in root.get(f"{MODELS}?q={row.name}").content.decode()


def test_many_models_are_changed_in_the_list_at_once(root: Client, up: FaultServer) -> None:
    stem, rows = several(up)
    place = f"{MODELS}?q={stem}"
    act(root, place, "make_pro", *rows)
    assert {row.tier for row in Model.objects.filter(name__startswith=stem)} == {"pro"}
    fields = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "2", "_save": "Save"}
    for number, row in enumerate(rows):
        fields |= {
            f"form-{number}-id": str(row.pk),
            f"form-{number}-tier": "pro",
            f"form-{number}-credits_per_1k_input": "5",
            f"form-{number}-credits_per_1k_output": "0",
        }
    assert root.post(place, fields).status_code == 302
    for row in rows:
        row.refresh_from_db()
        assert (row.credits_per_1k_input, row.fixed) == (5, ["credits_per_1k_input", "tier"])
    assert "1 follow" in act(root, place, "follow", rows[0])
    rows[0].refresh_from_db()
    assert (rows[0].fixed, rows[0].tier) == ([], "base")
    assert listed(root, f"q={stem}&fixed=yes") == {rows[1].name}


def test_only_what_is_filled_in_is_set_for_many_and_one_event_names_them(
    root: Client, up: FaultServer
) -> None:
    stem, rows = several(up)
    place = f"{MODELS}?q={stem}"
    chosen = {"action": "set_many", "_selected_action": [str(row.pk) for row in rows]}
    asked = root.post(place, chosen)
    assert rows[0].name in asked.content.decode()
    empty = root.post(place, {**chosen, "post": "yes"})
    assert "Fill in what is to be set" in empty.content.decode()
    wrong = root.post(place, {**chosen, "post": "yes", "credits_per_call": "-1"})
    assert wrong.status_code == 200
    told = act(root, place, "set_many", *rows, post="yes", credits_per_call="0",
               shutdown_date="2031-01-02")  # fmt: skip
    assert "2 models set" in told
    for row in rows:
        row.refresh_from_db()
        assert row.fixed == ["credits_per_call", "shutdown_date"], "a zero is a price too"
        assert row.shutdown_date == date(2031, 1, 2)
    event = AuditEvent.objects.filter(verb="model.fix").first()
    assert event is not None
    assert (event.facts["count"], set(event.facts["models"])) == (2, {row.name for row in rows})


def test_models_are_found_by_who_offers_them_and_whether_they_can_be_had(
    root: Client, up: FaultServer
) -> None:
    stem, rows = several(up, 3)
    locked, resting = (Provider.objects.get(offers__model=row) for row in rows[:2])
    Provider.objects.filter(pk=locked.pk).update(lock_text="Closed.")
    key = resting.keys.get()
    rests.switch_off(resting.pk, key.pk, clock.now())
    bump()
    lone = Model.objects.create(name=f"{stem}-lone")
    gone = {rows[0].name, rows[1].name, lone.name}
    assert listed(root, f"q={stem}&available=no") == gone
    assert listed(root, f"q={stem}&available=yes") == {rows[2].name}
    assert listed(root, f"q={stem}&provider={locked.slug}") == {rows[0].name}
    assert "Closed." in root.get(f"{MODELS}?q={stem}").content.decode()
    assert root.get(f"{MODELS}?q={stem}&provider=nobody").status_code == 200


def test_a_page_costs_the_same_whatever_stands_on_it(root: Client, up: FaultServer) -> None:
    def cost(query: str) -> int:
        with CaptureQueriesContext(connection) as found:
            assert root.get(f"{MODELS}?q={query}").status_code == 200
        return len(found)

    stem, _ = several(up, 1)
    few = cost(stem)
    other, many = several(up, 6)
    act(root, f"{MODELS}?q={other}", "make_pro", *many)
    assert cost(other) <= few + 1

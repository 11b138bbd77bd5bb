"""Providers, keys and rests in the admin: added and tried, locked, asked, switched off, gone."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent
from bsod.backstage.pool import traffic
from bsod.lib import clock
from bsod.lib.ids import ulid
from bsod.lib.terms import RestReason
from proxy import rechecks, rests, service
from proxy.models import Job, Object, Provider, ProviderKey, Rest
from proxy.pool import bump
from quotas.models import Entry
from tests import kit
from tests.bsod.backstage.poolside import KEYS, PROVIDERS, act, said, superuser
from tests.kit import Supply, unique
from tests.proxy.rows import generation, reasons
from tests.upstream import FaultServer, Gate, chat_stream, error, models

pytestmark = pytest.mark.once  # pages; what they call is tested on both where it is about rows


@pytest.fixture(scope="module")
def root(database: None) -> Client:
    return superuser()


def kept(row: Any) -> list[tuple[str, str]]:
    """What the audit log has of a row: verbs and reasons, oldest first."""
    events = AuditEvent.objects.filter(target_kind=row._meta.label_lower, target_id=str(row.pk))
    return list(events.order_by("id").values_list("verb", "reason"))


def key_of(supplied: Supply) -> ProviderKey:
    return supplied.key_row()


# ---- providers


def new(slug: str, up: FaultServer, **more: str) -> dict[str, str]:
    return {"slug": slug, "kind": "compatible", "base_url": up.base_url, "proxy_url": "",
            "private_network": "on", **more}  # fmt: skip


def test_a_provider_is_added_with_keys_that_are_tried_before_the_answer(
    root: Client, up: FaultServer
) -> None:
    slug, good, bad = unique("up"), unique("sk"), unique("sk")
    up.default = models([unique("m")])
    up.on(error(401), key=bad)
    answer = root.post(f"{PROVIDERS}add/", new(slug, up, secret_1=good, secret_2=bad))
    told = said(answer)
    assert f"…{good[-4:]} answers." in told
    assert f"…{bad[-4:]} refuses (401). It rests" in told
    assert "1 model listed" in told
    assert not [secret for secret in (good, bad) if secret in told]
    provider = Provider.objects.get(slug=slug)
    assert reasons(provider) == ["auth"]
    assert [verb for verb, _ in kept(provider)] == ["provider.create"]
    more = unique("sk")
    given = root.post(f"{KEYS}add/", {"provider": str(provider.pk), "secret_1": more})
    assert f"…{more[-4:]} answers." in said(given)
    key = ProviderKey.objects.get(provider=provider, last4=more[-4:])
    assert [verb for verb, _ in kept(key)] == ["provider_key.add"]
    facts = AuditEvent.objects.filter(target_id__in=[key.pk, provider.pk]).values_list("facts")
    assert more not in str(list(facts))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"private_network": ""}, "private network"), ({"secret_1": "with space"}, "printable ASCII"),
     ({"secret_1": ""}, "required"), ({"base_url": "http://169.254.169.254/v1"}, ""),
     ({"kind": "nope"}, "valid choice"), ({"proxy_url": "socks5://x"}, "http://")],
)  # fmt: skip
def test_a_provider_that_cannot_be_is_not_added(
    root: Client, up: FaultServer, wrong: dict[str, str], why: str
) -> None:
    slug = unique("up")
    answer = root.post(f"{PROVIDERS}add/", {**new(slug, up, secret_1=unique("sk")), **wrong})
    assert answer.status_code == 200
    errors = str(answer.context["adminform"].form.errors)
    assert errors
    assert why in errors
    assert not Provider.objects.filter(slug=slug).exists()
    assert up.seen == []


def test_a_name_that_is_taken_changes_nobody_elses_provider(root: Client, up: FaultServer) -> None:
    there = kit.supply(up).provider
    form = new(there.slug, up, secret_1=unique("sk"), kind="openai")
    answer = root.post(f"{PROVIDERS}add/", form)
    assert "There is one of this name" in str(answer.context["adminform"].form.errors)
    there.refresh_from_db()
    assert there.kind == "compatible"


def test_a_proxys_password_is_shown_to_nobody(root: Client, up: FaultServer) -> None:
    there = kit.supply(up).provider
    page = f"{PROVIDERS}{there.pk}/change/"
    secret = "http://user:hush-hush@proxy.example:3128"
    form = {"base_url": there.base_url, "lock_text": ""}
    assert root.post(page, {**form, "proxy_url": secret}).status_code == 302
    shown = root.get(page).content.decode()
    assert "hush-hush" not in shown
    assert "http://…@proxy.example:3128" in shown
    same = {**form, "proxy_url": "http://…@proxy.example:3128", "lock_text": "Moving."}
    assert root.post(page, same).status_code == 302
    there.refresh_from_db()
    assert (there.proxy_url, there.lock_text) == (secret, "Moving.")
    events = AuditEvent.objects.filter(target_kind="proxy.provider", target_id=str(there.pk))
    assert "hush-hush" not in str(list(events.values_list("facts")))


def test_a_lock_says_why_and_is_kept(root: Client, up: FaultServer) -> None:
    there = kit.supply(up).provider
    assert "Give a reason" in act(root, PROVIDERS, "lock", there)
    assert "1 locked" in act(root, PROVIDERS, "lock", there, reason="Back on Monday.")
    there.refresh_from_db()
    assert there.lock_text == "Back on Monday."
    assert "1 unlocked" in act(root, PROVIDERS, "unlock", there)
    there.refresh_from_db()
    assert there.lock_text == ""
    assert kept(there) == [("provider.lock", "Back on Monday."), ("provider.unlock", "")]


def test_taking_a_provider_out_says_what_hangs_on_it_and_it_can_come_back(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=2)
    there, key = supplied.provider, key_of(supplied)
    owner = kit.person().account
    for number in range(3):
        Object.objects.create(account=owner, provider=there, key=key, kind="file",
                              upstream_id=unique(f"file-{number}"))  # fmt: skip
    job = Job.objects.create(
        entry=unique("E")[:26], account=owner, provider=there, key=key, kind="video",
        upstream_id=unique("v"), path="/x", next_at=clock.now() + timedelta(days=9),
        expires_at=clock.now() + timedelta(days=9),
    )  # fmt: skip
    asked = root.get(f"{PROVIDERS}{there.pk}/delete/").content.decode()
    assert "2 keys leave the pool" in asked
    assert "1 model that nobody else offers" in asked
    assert "3 objects of users" in asked
    assert "1 running job" in asked
    job.delete()
    place = f"{PROVIDERS}{there.pk}/delete/"
    silent = root.post(place, {"post": "yes"})
    assert "Give a reason" in silent.content.decode()
    there.refresh_from_db()
    assert there.deleted_at is None
    before = generation()
    assert root.post(place, {"post": "yes", "reason": "contract ended"}).status_code == 302
    assert Provider.objects.get(pk=there.pk).deleted_at is not None
    assert generation() > before
    assert there.slug not in root.get(PROVIDERS).content.decode()
    gone = f"{PROVIDERS}?gone=yes"
    assert there.slug in root.get(gone).content.decode()
    assert "1 brought back" in act(root, gone, "restore", there)
    there.refresh_from_db()
    assert there.deleted_at is None
    assert not there.keys.filter(asked_at=None).exists()
    there.keys.update(asked_at=None)
    assert kept(there) == [("provider.delete", "contract ended"), ("provider.restore", "")]


# ---- keys


def test_a_key_is_cooled_down_switched_off_and_on_with_a_reason(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up)
    key, there = key_of(supplied), supplied.provider
    assert "Give a reason" in act(root, KEYS, "cool", key, minutes="5")
    assert "1 to 10080" in act(root, KEYS, "cool", key, minutes="0", reason="x")
    assert reasons(there) == []
    assert "1 cooled down" in act(root, KEYS, "cool", key, minutes="5", reason="too loud")
    rest = Rest.objects.get(key=key)
    assert rest.until is not None
    assert timedelta(minutes=4) < rest.until - clock.now() <= timedelta(minutes=5)
    assert "1 rests ended" in act(root, KEYS, "end_rest", key)
    assert "1 switched off" in act(root, KEYS, "switch_off", key, reason="leaked")
    page = root.get(f"{KEYS}{key.pk}/change/").content.decode()
    assert "switched off by an admin" in page
    assert "0 cooled down" in act(root, KEYS, "cool", key, minutes="5", reason="x")
    assert "0 rests ended" in act(root, KEYS, "end_rest", key)
    assert reasons(there) == ["off"]
    assert "1 switched on" in act(root, KEYS, "switch_on", key)
    assert reasons(there) == ["new"], "it serves when a probe has passed"
    Rest.objects.filter(provider=there).delete()
    assert kept(key) == [
        ("provider_key.cool", "too loud"), ("rest.end", ""), ("provider_key.disable", "leaked"),
        ("provider_key.enable", ""),
    ]  # fmt: skip


def test_no_probe_and_no_failure_wakes_a_key_that_is_switched_off(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up, keys=2)
    key, there = key_of(supplied), supplied.provider
    up.default = chat_stream()
    act(root, KEYS, "switch_off", key, reason="leaked")
    told = act(root, KEYS, "recheck", key)
    assert "answers" in told
    rests.begin(there.pk, key.pk, RestReason.AUTH, clock.now())
    service.add_keys(there, [supplied.keys[0]])
    assert reasons(there) == ["off"]
    assert Rest.objects.get(key=key).probe_at is None, "no probe is ever due"


def test_a_probe_under_way_does_not_end_what_an_admin_has_said_meanwhile(
    root: Client, up: FaultServer
) -> None:
    supplied = kit.supply(up)
    key, there = key_of(supplied), supplied.provider
    rests.begin(there.pk, key.pk, RestReason.UNREACHABLE, clock.now())
    rest = Rest.objects.get(key=key)
    gate = Gate()
    up.default = models([supplied.model]).but(delay_headers=gate)
    with kit.beside(lambda: rechecks.look(ProviderKey.objects.get(pk=key.pk))):
        gate.wait_for(1)
        act(root, KEYS, "switch_off", key, reason="now")
        gate.open()
    assert reasons(there) == ["off"]
    assert not Rest.objects.filter(pk=rest.pk).exists()


def test_a_key_taken_out_leaves_nothing_of_its_secret(root: Client, up: FaultServer) -> None:
    supplied = kit.supply(up)
    key = key_of(supplied)
    told = act(root, KEYS, "delete_selected", key, post="yes", reason="leaked")
    assert "1 taken out" in told
    row = ProviderKey.objects.get(pk=key.pk)
    assert (row.sealed, row.deleted_at is None) == ("", False)
    assert kept(key) == [("provider_key.delete", "leaked")]
    assert root.get(f"{KEYS}{key.pk}/change/").status_code == 302


def test_what_a_key_was_used_for_stands_beside_it(root: Client, up: FaultServer) -> None:
    key = key_of(kit.supply(up))
    account = kit.person().account
    day = clock.day_of(clock.now())
    made = [
        Entry.objects.create(
            id=ulid(), account=account, bucket="file", day=day, provider_key=key.pk,
            state="settled", end_reason=reason, closed_at=clock.now(),
        )
        for reason in ("completed", "upstream_error")
    ]  # fmt: skip
    assert traffic.read(clock.now())[key.pk] == (2, 1)
    assert traffic.read(clock.now() + timedelta(days=2)).get(key.pk) is None
    assert traffic.Used(1200, 3).told == "1,200, 3 failed"
    assert len(made) == 2


# ---- lists


def test_lists_cost_the_same_however_many_rows_they_have(root: Client, up: FaultServer) -> None:
    def cost(place: str) -> int:
        with CaptureQueriesContext(connection) as found:
            assert root.get(place).status_code == 200
        return len(found)

    supplied = kit.supply(up, keys=2)
    places = [KEYS, PROVIDERS, "/admin/proxy/rest/", "/admin/proxy/offer/"]
    few = [cost(place) for place in places]
    for _ in range(5):
        more = kit.supply(up, keys=3)
        for key in more.provider.keys.all():
            rests.begin(more.provider.pk, key.pk, RestReason.FAILURES, clock.now())
    many = [cost(place) for place in places]
    assert all(after <= before + 2 for before, after in zip(few, many, strict=True)), (few, many)
    assert supplied.keys[0] not in root.get(KEYS).content.decode()


def test_a_key_that_nobody_can_open_is_not_called_live(root: Client, up: FaultServer) -> None:
    supplied = kit.supply(up, keys=2)
    broken = supplied.key_row(0)
    ProviderKey.objects.filter(pk=broken.pk).update(sealed=supplied.key_row(1).sealed)
    bump()
    page = root.get(f"{KEYS}{broken.pk}/change/").content.decode()
    assert "VAULT_KEYS" in page
    assert "disabled" in page
    ProviderKey.objects.filter(pk=broken.pk).delete()


@pytest.mark.parametrize("rest", ["live", "off", "auth", "waiting", "nonsense"])
def test_keys_are_found_by_what_keeps_them(root: Client, up: FaultServer, rest: str) -> None:
    supplied = kit.supply(up, keys=2)
    off = supplied.key_row(0)
    rests.switch_off(off.provider_id, off.pk, clock.now())
    asked = f"{KEYS}?rest={rest}&provider__id__exact={supplied.provider.pk}"
    found = {key.pk for key in root.get(asked, follow=True).context["cl"].result_list}
    both = {off.pk, supplied.key_row(1).pk}
    assert found & both == {
        "live": both - {off.pk}, "off": {off.pk}, "auth": set(), "waiting": set(),
    }.get(rest, found & both)  # fmt: skip

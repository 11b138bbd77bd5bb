"""What is paid when it has ended: films by their models and seconds, uploads that become files."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from bsod.lib import clock
from bsod.lib.terms import Modality
from proxy.models import Job
from quotas.models import Entry
from quotas.processes import close_expired
from tests import kit
from tests.kit import Person, Site, Supply
from tests.proxy.gateway.studio import PLAN, capped, only, payer, send, studio, yout
from tests.proxy.gateway.world import alone, request, row
from tests.rawclient import Reply
from tests.upstream import FaultServer, json_reply
from tests.upstream import Reply as Answer


@pytest.fixture(autouse=True)
def no_others(site: Site) -> Iterator[None]:
    with alone():
        yield


# ---- films


def film(status: str, id_: str, **more: Any) -> Answer:
    return json_reply({"id": id_, "object": "video", "status": status, **more})


def begin(
    site: Site, up: FaultServer, who: Person, supplied: Supply, path: str = "/v1/videos",
    told: dict[str, Any] | None = None, **fields: Any,
) -> tuple[str, Reply]:  # fmt: skip
    id_ = kit.unique("video")
    up.script(film("queued", id_, **(told or {})))
    route = row("POST", path)
    ids = {"video_id": fields.pop("of")} if "of" in fields else {}
    asked = request(route, ids, supplied.model if not ids else "", **fields)
    return id_, asked.send(site, who)


def look(site: Site, up: FaultServer, who: Person, id_: str, status: str) -> None:
    up.script(film(status, id_))
    assert site.get(who, f"/v1/videos/{id_}").status_code == 200


@pytest.mark.parametrize(
    ("model", "bucket"),
    [("sora-2-pro", "video.sora2pro"), ("sora-2", "video.sora2"), ("veo-3", "video.other")],
)
def test_a_film_draws_one_of_its_models_bucket_when_it_has_been_made(
    site: Site, up: FaultServer, model: str, bucket: str
) -> None:
    supplied, who = studio(up, Modality.VIDEO, model), capped(bucket, 1)
    id_, reply = begin(site, up, who, supplied, seconds="8")
    assert reply.status == 200
    assert b"yout" not in reply.body
    assert [(e.state, e.bucket, e.amount) for e in who.entries()] == [("open", bucket, 0)]
    refused = send(site, who, "/v1/videos", supplied.model)
    assert refused.error["quota"]["bucket"] == bucket
    assert (refused.status, refused.error["quota"]["left"]) == (429, 0)

    look(site, up, who, id_, "in_progress")
    assert who.reserved() == 1
    look(site, up, who, id_, "failed")
    assert (only(who).state, only(who).amount, who.used(bucket)) == ("released", 0, 0)

    id_, _ = begin(site, up, who, supplied)
    look(site, up, who, id_, "completed")
    look(site, up, who, id_, "completed")
    last = who.closed(2)[-1]
    assert (last.state, last.amount, last.usage_source) == ("settled", 1, "upstream")
    assert (who.used(bucket), up.count()) == (1, 6)
    assert kit.ledger_adds_up(who)


def test_a_film_costs_credits_by_the_second_and_its_create_tells_what_is_held(
    site: Site, up: FaultServer
) -> None:
    supplied, who = studio(up, Modality.VIDEO, "sora-2"), payer()
    left = PLAN
    wanted: list[tuple[Any, int]] = [
        (5, 1_200_000), ("12", 2_880_000), (None, 960_000), (1, 240_000)
    ]  # fmt: skip
    for seconds, cost in wanted:
        id_, reply = begin(site, up, who, supplied, seconds=seconds)
        assert yout(reply) == {
            "credits_charged": 0, "credits_reserved": cost, "balance": left - cost,
        }  # fmt: skip
        assert reply.header("x-credits-charged") == "0"
        assert reply.header("x-credits-reserved") == str(cost)
        assert reply.header("x-credits-balance") == str(left - cost)
        look(site, up, who, id_, "completed" if cost > 10**6 else "failed")
        entry = who.closed()[-1]
        assert (entry.estimate, entry.amount) == (cost, cost if cost > 10**6 else 0)
        left -= entry.amount
    assert who.used("credits") == PLAN - left == 4_080_000
    needed = send(site, who, "/v1/videos", supplied.model, seconds=60).error["quota"]
    assert (needed["needed"], needed["left"]) == (14_400_000, left)
    assert kit.ledger_adds_up(who)


def test_what_is_made_of_a_film_is_as_long_as_the_film(site: Site, up: FaultServer) -> None:
    supplied, who = studio(up, Modality.VIDEO, "sora-2-pro"), payer()
    told = {"model": supplied.model, "seconds": "10"}
    id_, _ = begin(site, up, who, supplied, told=told, seconds="10")
    look(site, up, who, id_, "completed")

    again, reply = begin(
        site, up, who, supplied, "/v1/videos/{video_id}/remix", of=id_, seconds=None
    )

    assert yout(reply)["credits_reserved"] == 2_400_000
    look(site, up, who, again, "completed")
    assert [entry.amount for entry in who.closed(2)] == [2_400_000] * 2


def test_a_film_nobody_can_ask_for_costs_nothing(site: Site, up: FaultServer) -> None:
    supplied, who = studio(up, Modality.VIDEO, "sora-2"), capped("video.sora2", 1)
    up.default = json_reply({"object": "video", "status": "queued"})
    send(site, who, "/v1/videos", supplied.model)
    assert (only(who).amount, who.used("video.sora2"), who.reserved()) == (0, 0, 0)


# ---- uploads


@pytest.mark.parametrize(("end", "paid"), [("complete", 1), ("cancel", 0), ("expire", 0)])
@pytest.mark.parametrize("credits", [False, True])
def test_an_upload_is_paid_when_it_becomes_a_file(
    site: Site, up: FaultServer, end: str, paid: int, credits: bool
) -> None:
    studio(up)
    who = payer() if credits else capped("file", 1)
    id_ = kit.unique("upload")
    up.script(json_reply({"id": id_, "object": "upload", "status": "pending"}))
    reply = send(site, who, "/v1/uploads")
    cost = 10 if credits else 1
    assert (reply.status, who.reserved()) == (200, cost)
    if credits:
        assert yout(reply)["credits_reserved"] == 10
    else:
        assert send(site, who, "/v1/uploads").status == 429

    if end == "expire":
        past = clock.now() - timedelta(seconds=1)
        Job.objects.filter(account=who.account).update(expires_at=past)
        Entry.objects.filter(account=who.account).update(expires_at=past)
        close_expired(clock.now())
    else:
        state = "completed" if paid else "cancelled"
        shown = {"id": id_, "object": "upload", "status": state}
        file = {"file": {"id": kit.unique("file"), "object": "file"}} if paid else {}
        up.script(json_reply({**shown, **file}))
        route = row("POST", f"/v1/uploads/{{upload_id}}/{end}")
        assert request(route, {"upload_id": id_}).send(site, who).status == 200

    entry = only(who)
    states = {"complete": "settled", "cancel": "released", "expire": "expired"}
    assert (entry.state, entry.amount) == (states[end], paid * cost)
    assert who.used("credits" if credits else "file") == paid * cost
    assert kit.ledger_adds_up(who)

"""What media cost: so many units of their bucket, or their price in credits; nothing when they
fail, and no more than has been delivered when they break off."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from bsod.lib import clock
from bsod.lib.terms import Modality
from tests import kit
from tests.kit import Person, Site, Supply
from tests.proxy.gateway.studio import PLAN, PRICE, capped, only, payer, send, studio, yout
from tests.proxy.gateway.world import alone, request, row
from tests.rawclient import Raw, Reply
from tests.upstream import FaultServer, Gate, error, hang, json_reply, sse, sse_frame
from tests.upstream import Reply as Answer


class Kind(NamedTuple):
    """One way to spend on media: three images, one recording, one file."""

    path: str
    modality: Modality | None
    bucket: str
    units: int = 1

    @property
    def fields(self) -> dict[str, Any]:
        return {"n": str(self.units) if self.formal else self.units} if self.units > 1 else {}

    @property
    def formal(self) -> bool:
        return not self.path.endswith(("generations", "speech"))

    @property
    def credits(self) -> int:
        return PRICE * self.units if self.modality else 10


KINDS = [
    *[Kind(f"/v1/images/{what}", Modality.IMAGE, "image", 3)
      for what in ("generations", "edits", "variations")],
    *[Kind(f"/v1/audio/{what}", Modality.AUDIO, "audio")
      for what in ("speech", "transcriptions", "translations")],
    Kind("/v1/files", None, "file"),
]  # fmt: skip
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path.rpartition("/")[2])


@pytest.fixture(autouse=True)
def no_others(site: Site) -> Iterator[None]:
    with alone():
        yield


def make(site: Site, who: Person, kind: Kind, supplied: Supply) -> Reply:
    return send(site, who, kind.path, supplied.model if kind.modality else "", **kind.fields)


# ---- by the call


@EACH
def test_a_call_draws_its_units_once_and_a_failed_one_none(
    site: Site, up: FaultServer, kind: Kind
) -> None:
    supplied, who = studio(up, kind.modality), capped(kind.bucket, 2 * kind.units - 1)
    up.script(error(400), error(500))
    assert [make(site, who, kind, supplied).status for _ in range(2)] == [400, 502]
    assert {(e.state, e.amount, e.estimate) for e in who.closed(2)} == {("released", 0, kind.units)}

    good = make(site, who, kind, supplied)
    refused = make(site, who, kind, supplied)

    assert good.status == 200, good
    assert good.header("x-quota-bucket") == kind.bucket
    assert good.header("x-credits-charged") is None
    entry = who.closed(3)[-1]
    assert (entry.state, entry.amount, entry.bucket) == ("settled", kind.units, kind.bucket)
    assert (entry.usage_source, entry.end_reason) == ("upstream", "completed")
    assert (refused.status, refused.error["code"]) == (429, "quota_exceeded")
    assert refused.error["type"] == "insufficient_quota"
    ends = clock.end_of_day(entry.day).isoformat().replace("+00:00", "Z")
    assert refused.error["quota"] == {
        "bucket": kind.bucket, "limit": "daily", "needed": kind.units, "left": kind.units - 1,
        "resets_at": ends,
    }  # fmt: skip
    assert refused.header("x-should-retry") == "false"
    assert int(refused.header("retry-after") or 0) > 0
    assert (up.count(), who.used(kind.bucket)) == (3, kind.units)
    assert kit.ledger_adds_up(who)


@EACH
def test_a_credit_plan_pays_the_price_of_each_and_is_told_so(
    site: Site, up: FaultServer, kind: Kind
) -> None:
    supplied, cost = studio(up, kind.modality), kind.credits
    who = payer(2 * cost - 1)
    up.script(error(500))
    assert make(site, who, kind, supplied).status == 502

    good = make(site, who, kind, supplied)
    refused = make(site, who, kind, supplied)

    assert good.status == 200, good
    if not kind.path.endswith("speech"):
        assert yout(good) == {"credits_charged": cost, "balance": cost - 1}
    assert good.header("x-credits-charged") == str(cost)
    assert good.header("x-credits-balance") == str(cost - 1)
    assert (refused.status, refused.error["code"]) == (402, "insufficient_credits")
    quota = refused.error["quota"]
    assert (quota["bucket"], quota["needed"], quota["left"]) == ("credits", cost, cost - 1)
    assert refused.header("x-should-retry") == "false"
    entry = who.closed(2)[-1]
    assert (entry.amount, entry.bucket, who.used(kind.bucket)) == (cost, "credits", 0)
    assert (up.count(), who.used("credits")) == (2, cost)
    assert kit.ledger_adds_up(who)


def test_an_unlimited_key_is_bound_by_no_cap_and_metered_in_units(
    site: Site, up: FaultServer
) -> None:
    for kind in KINDS:
        supplied = studio(up, kind.modality)
        who = kit.person("boss", plan="pro", unlimited=True)
        replies = [make(site, who, kind, supplied) for _ in range(2)]
        assert [reply.status for reply in replies] == [200, 200], kind
        assert b"yout" not in replies[0].body
        found = {(e.bucket, e.amount) for e in who.closed(2)}
        assert found == {(kind.bucket, kind.units)}
        assert (who.used("credits"), who.used(kind.bucket)) == (0, 0)
        assert kit.ledger_adds_up(who)


def test_a_model_nobody_has_priced_costs_the_least_of_all_and_not_nothing(
    site: Site, up: FaultServer
) -> None:
    supplied, who = kit.supply(up, modality=Modality.IMAGE), payer()
    up.default = json_reply({"created": 1, "data": [{"url": "x"}, {"url": "y"}]})
    reply = send(site, who, "/v1/images/generations", supplied.model, n=2)
    assert yout(reply) == {"credits_charged": 20, "balance": PLAN - 20}


@pytest.mark.parametrize(("made", "paid"), [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)])
def test_images_are_paid_by_their_number_and_never_more_than_were_asked_for(
    site: Site, up: FaultServer, made: int, paid: int
) -> None:
    supplied, who = studio(up, Modality.IMAGE), payer()
    usage = {"input_tokens": 7, "output_tokens": 90}
    up.default = json_reply({"created": 1, "data": [{"b64_json": "AA"}] * made, "usage": usage})

    reply = send(site, who, "/v1/images/generations", supplied.model, n=3)

    assert reply.status == 200
    assert yout(reply)["credits_charged"] == PRICE * paid
    entry = only(who)
    assert (entry.estimate, entry.amount) == (PRICE * 3, PRICE * paid)
    told = (7, 90) if paid else (None, None)
    assert (entry.prompt_tokens, entry.completion_tokens) == told
    assert kit.ledger_adds_up(who)


# ---- streams


def image(event: str) -> bytes:
    return sse_frame({"type": f"image_generation.{event}", "b64_json": "AA"}, named=True)


def events(*names: str, **how: Any) -> Answer:
    return sse(*[image(name) for name in names], done=False, **how)


NEXT, DONE = "partial_image", "completed"
STREAMS: list[tuple[str, Answer, int, bool]] = [
    # name, what comes for two images, units due, whole
    ("both", events(NEXT, DONE, NEXT, DONE), 2, True),
    ("both, cut behind them", events(DONE, DONE).cut(), 2, True),
    ("one, and a clean end", events(NEXT, DONE), 1, True),
    ("one, and a cut", events(DONE, NEXT).cut(), 1, False),
    ("one that was still held", events(NEXT, DONE).cut(), 0, False),
    ("a preview, and a cut", events(NEXT).cut(), 0, False),
    ("nothing", sse(done=False), 0, False),
    ("an error", sse(image(NEXT), {"error": {"message": "no"}}, done=False), 0, False),
    ("an error behind one", sse(image(DONE), image(NEXT), {"error": {"message": "no"}},
                                done=False), 1, False),
]  # fmt: skip


@pytest.mark.parametrize("credits", [False, True])
@pytest.mark.parametrize(("name", "answer", "paid", "whole"), STREAMS, ids=[s[0] for s in STREAMS])
def test_a_stream_of_images_pays_for_those_that_came(
    site: Site, up: FaultServer, name: str, answer: Answer, paid: int, whole: bool, credits: bool
) -> None:
    supplied = studio(up, Modality.IMAGE)
    who = payer() if credits else capped("image", 2)
    up.default = answer

    reply = send(site, who, "/v1/images/generations", supplied.model, n=2, stream=True)

    entry = only(who)
    assert entry.amount == paid * (PRICE if credits else 1)
    assert entry.end_reason == ("completed" if whole else "upstream_error")
    source = ("upstream" if whole else "estimated") if paid else ""
    assert (entry.state, entry.usage_source) == ("settled" if paid else "released", source)
    assert (b'"error"' not in reply.body) is whole
    told = f'"credits_charged":{PRICE * paid}'.encode()
    assert (told in reply.body) is (credits and whole)
    assert up.count() == 1, "what may have been made once is not made again"
    assert kit.ledger_adds_up(who)


def test_the_only_image_is_the_end_of_its_stream(site: Site, up: FaultServer) -> None:
    """A provider that breaks off behind it takes nothing away."""
    supplied, who = studio(up, Modality.IMAGE), capped("image", 1)
    up.default = events(NEXT, DONE).cut()
    reply = send(site, who, "/v1/images/generations", supplied.model, stream=True)
    assert b"image_generation.completed" in reply.body
    assert b"error" not in reply.body
    assert (only(who).amount, only(who).end_reason) == (1, "completed")


@pytest.mark.parametrize(
    ("sent", "paid"),
    [([], 0), ([image(NEXT)], 1), ([image(DONE)], 0), ([image(DONE), image(NEXT)], 2)],
    ids=["nothing", "a preview", "one not sent yet", "one and a preview"],
)
def test_who_leaves_a_stream_of_images_pays_for_those_he_has_seen_anything_of(
    site: Site, up: FaultServer, sent: list[bytes], paid: int
) -> None:
    supplied, who, gate = studio(up, Modality.IMAGE), capped("image", 4), Gate()
    up.default = sse(*sent, gate, done=False)
    asked = request(row("POST", "/v1/images/generations"), {}, supplied.model, n=4, stream=True)
    with Raw(site) as raw:
        asked.begin(raw, who)
        gate.wait_for(1)
        if paid:
            assert raw.head().status == 200
            next(raw.chunks())
        raw.leave()
    assert up.wait_for(1, 3, where=lambda seen: seen.client_gone_at)
    gate.open()
    entry = only(who)
    assert (entry.amount, entry.end_reason) == (paid, "client_gone")
    assert entry.usage_source == ("estimated" if paid else "")
    assert kit.ledger_adds_up(who)


def words(*texts: str, end: bool = False) -> list[dict[str, Any]]:
    said = [{"type": "transcript.text.delta", "delta": text} for text in texts]
    return [*said, {"type": "transcript.text.done", "text": "all"}] if end else [*said]


@pytest.mark.parametrize(
    ("answer", "paid"),
    [
        (sse(*words("a", end=True), named=True, done=False), 1),
        (sse(*words("a"), named=True, done=False).cut(), 1),
        (sse(*words(), named=True, done=False), 0),
        (error(503), 0),
    ],
    ids=["whole", "a part", "nothing", "refused"],
)
def test_a_transcript_is_paid_when_any_of_it_came(
    site: Site, up: FaultServer, answer: Answer, paid: int
) -> None:
    supplied, who = studio(up, Modality.AUDIO), capped("audio", 1)
    up.default = answer
    send(site, who, "/v1/audio/transcriptions", supplied.model, stream=True)
    entry = only(who)
    assert (entry.amount, entry.estimate, who.used("audio")) == (paid, 1, paid)
    assert kit.ledger_adds_up(who)


def test_who_leaves_before_any_sound_pays_nothing(site: Site, up: FaultServer) -> None:
    supplied, who = studio(up, Modality.AUDIO), capped("audio", 1)
    up.default = hang()
    asked = request(row("POST", "/v1/audio/speech"), {}, supplied.model)
    with Raw(site) as raw:
        asked.begin(raw, who)
        up.wait_for(1)
        raw.leave()
    assert up.wait_for(1, 3, where=lambda seen: seen.client_gone_at)
    entry = only(who)
    assert (entry.state, entry.amount, entry.end_reason) == ("released", 0, "client_gone")

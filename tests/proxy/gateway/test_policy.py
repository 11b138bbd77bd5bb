"""The written policy: each row of the table of docs/metering.md, on chat, completions and
responses, in both directions: never free when something came, never more than came.

What is not tried here is tried where ELSEWHERE says; a row without a test fails, and so does a
test without a row.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bsod.lib.terms import Shape
from quotas.models import Entry
from tests import kit
from tests.kit import Person, Site
from tests.proxy.gateway.streams import DONE, chunk
from tests.proxy.gateway.world import Request, request, row
from tests.rawclient import Raw, Reply
from tests.upstream import FaultServer, Gate, error, json_reply, sse, sse_frame
from tests.upstream import Reply as Answer

ROOT = Path(__file__).resolve().parents[3]
TEXT = "x" * 30  # ten tokens by the byte rule
OUTPUT, LIMIT = 10, 500
SILENCE = "the provider fell silent, or the server was stopped"
ELSEWHERE = {
    "refused by us": "test_bodies.py::test_a_number_that_is_none_is_400_with_its_name",
    SILENCE: "test_stream_ends.py::test_hanging_in_the_middle_is_a_timeout_charged_for_what_came",
    "one more than a hundred such calls": "test_leaving.py::test_beyond_a_hundred_such_calls",
    "the server died": "../../torture/test_kills.py::test_nothing_is_lost_at_named_moments",
    "whole, with so many images": "test_media_money.py::test_images_are_paid_by_their_number",
    "a stream of images that broke off": "test_media_money.py::test_a_stream_of_images_pays_for",
    "the client left a stream of images": "test_media_money.py::test_who_leaves_a_stream_of_images",
    "speech that broke off": "test_content.py::test_speech_is_paid_before_its_first_byte",
    "the client left before any sound": "test_media_money.py::test_who_leaves_before_any_sound",
    "a transcript that broke off": "test_media_money.py::test_a_transcript_is_paid_when_any",
    "refused, failed or empty": "test_media_money.py::test_a_call_draws_its_units_once_and_a_fail",
    "a film": "test_media_jobs.py::test_a_film_draws_one_of_its_models_bucket_when_it_has_been",
    "an upload": "test_media_jobs.py::test_an_upload_is_paid_when_it_becomes_a_file",
    "begun, but nobody can ask for it": "test_media_jobs.py::test_a_film_nobody_can_ask_for",
}  # fmt: skip


class Talk:
    """What a provider says in one shape, whole and streamed."""

    def __init__(self, shape: Shape) -> None:
        paths = {Shape.CHAT: "chat/completions", Shape.COMPLETION: "completions"}
        self.shape, self.path = shape, f"/v1/{paths.get(shape, 'responses')}"
        self.head = {"id": kit.unique("resp"), "object": "response", "output": []}

    def usage(self, prompt: Any, output: Any) -> dict[str, Any]:
        if self.shape is Shape.RESPONSE:
            return {"input_tokens": prompt, "output_tokens": output, "total_tokens": 0}
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": 0}

    def whole(self, usage: Any = None, **more: Any) -> Answer:
        if self.shape is Shape.RESPONSE:
            said = {"type": "message", "content": [{"type": "output_text", "text": TEXT}]}
            value = {**self.head, "status": "completed", "output": [said], "usage": usage}
            return json_reply({**value, **more})
        text = {"text": TEXT} if self.shape is Shape.COMPLETION else {"message": {"content": TEXT}}
        choice = {"index": 0, "finish_reason": "stop", **text}
        return json_reply({"id": "c1", "choices": [choice], "usage": usage, **more})

    def words(self) -> list[bytes]:
        """The first half of a stream, whose client has got the text by now."""
        if self.shape is Shape.RESPONSE:
            begun = {"type": "response.created", "response": {**self.head, "status": "queued"}}
            said = {"type": "response.output_text.delta", "delta": TEXT}
            return [sse_frame(begun, named=True), sse_frame(said, named=True)]
        if self.shape is Shape.COMPLETION:
            choice = {"index": 0, "text": TEXT, "finish_reason": None}
            return [sse_frame({"id": "c1", "choices": [choice]})]
        return [sse_frame(chunk(TEXT))]

    def stated(self, usage: Any) -> list[bytes]:
        """Usage in the middle of a stream, as some providers say it with every chunk."""
        if self.shape is Shape.RESPONSE:
            reply = {**self.head, "status": "in_progress", "usage": usage}
            value = {"type": "response.in_progress", "response": reply}
            return [sse_frame(value, named=True)]
        return [sse_frame({"id": "c1", "choices": [], "usage": usage})]

    def end(self, usage: Any = None, status: str = "completed") -> list[bytes]:
        if self.shape is Shape.RESPONSE:
            reply = {**self.head, "status": status, "usage": usage}
            return [sse_frame({"type": f"response.{status}", "response": reply}, named=True)]
        last = {"index": 0, "text": "", "delta": {}, "finish_reason": "stop"}
        return [
            sse_frame({"id": "c1", "choices": [last]}),
            *(self.stated(usage) if usage else []),
            DONE,
        ]


class Due(NamedTuple):
    """What the entry must say. `prompt` None: it is estimated; nothing at all without `source`."""

    end: str
    source: str = ""
    prompt: int | None = None
    output: int = 0


ESTIMATED = Due("completed", "estimated", None, OUTPUT)
FREE = Due("upstream_error")
Case = Callable[[Talk, bool], tuple[Answer, Due]]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def add(made: Case) -> Case:
        CASES[name] = made
        return made

    return add


def ended(talk: Talk, stream: bool, usage: Any) -> Answer:
    return sse(*talk.words(), *talk.end(usage), done=False) if stream else talk.whole(usage)


@case("complete, with usage from the provider")
def with_usage(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    return ended(talk, stream, talk.usage(21, 7)), Due("completed", "upstream", 21, 7)


@case("complete, without usage, or with usage that cannot be true")
def without_usage(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    usage = talk.usage(10**13, 7) if stream else None
    return ended(talk, stream, usage), ESTIMATED


@case("complete, with usage of 0")
def zero(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    return ended(talk, stream, talk.usage(0, 0)), Due("completed", "upstream", 0, 0)


@case("complete, with more usage than is left")
def huge(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    return ended(talk, stream, talk.usage(9, 10**9)), Due("completed", "upstream", 9, 10**9)


@case("an empty 200")
def empty(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    return (sse(done=False) if stream else json_reply(b"")), FREE


@case("a 200 that says it has failed")
def failed(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    if talk.shape is not Shape.RESPONSE:
        said = {"error": {"message": "overloaded"}}
        return (sse(said, done=False) if stream else json_reply(said)), FREE
    if stream:
        return sse(*talk.end(status="failed"), done=False), FREE
    return talk.whole(status="failed", output=[], error={"code": "server_error"}), FREE


@case("refused by the provider, or no key answered")
def refused(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    return error(500 if stream else 400), FREE


@case("the provider broke off behind some output")
def truncated(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    if not stream:  # half a body is no output
        return talk.whole().cut(body=20), FREE
    return sse(*talk.words(), done=False).cut(), Due("upstream_error", "estimated", None, OUTPUT)


@case("the same, with usage seen before")
def truncated_with_usage(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    if not stream:
        return talk.whole().cut(body=20), FREE
    answer = sse(*talk.words(), *talk.stated(talk.usage(21, 7)), done=False)
    return answer.cut(), Due("upstream_error", "upstream", 21, 7)


@case("the provider broke off before any output")
def nothing_came(talk: Talk, stream: bool) -> tuple[Answer, Due]:
    return (sse(done=False).cut() if stream else talk.whole().cut(body=0)), FREE


@pytest.fixture(params=[Shape.CHAT, Shape.COMPLETION, Shape.RESPONSE], ids=str)
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(request.param)


def call(site: Site, who: Person, talk: Talk, model: str, stream: bool) -> Reply:
    return asked(talk, model, stream).send(site, who)


def asked(talk: Talk, model: str, stream: bool) -> Request:
    limit = "max_output_tokens" if talk.shape is Shape.RESPONSE else "max_tokens"
    more: dict[str, Any] = {limit: LIMIT, **({"stream": True} if stream else {})}
    return request(row("POST", talk.path), {}, model, **more)


def holds(entry: Entry, due: Due, price: int = 0) -> None:
    """The entry says what is due, and the amount follows from it."""
    assert (entry.end_reason, entry.usage_source) == (due.end, due.source)
    if not due.source:
        assert (entry.state, entry.amount, entry.prompt_tokens) == ("released", 0, None)
        return
    prompt = entry.prompt_tokens or 0
    assert entry.completion_tokens == due.output
    assert prompt == due.prompt if due.prompt is not None else 0 < prompt < 20
    whole = prompt + due.output
    if price:
        whole = max(10, -(-whole * price // 1000))
    assert entry.amount + entry.shortfall == whole
    if due.source == "estimated":
        assert 0 < entry.amount < entry.estimate


@pytest.mark.parametrize("stream", [False, True])
def test_each_way_to_end_is_charged_as_it_is_written(
    site: Site, up: FaultServer, talk: Talk, stream: bool
) -> None:
    supplied = kit.supply(up)
    for name, made in CASES.items():
        up.default, due = made(Talk(talk.shape), stream)
        who = kit.person("reader", caps={"text.base": 10_000})
        reply = call(site, who, talk, supplied.model, stream)
        (entry,) = who.closed()
        try:
            holds(entry, due)
            assert entry.amount == min(entry.amount + entry.shortfall, 10_000) == who.used()
            assert who.reserved() == 0
        except AssertionError as failure:
            raise AssertionError(f"{name}: {reply.status} {reply.body[:300]!r}") from failure
    assert kit.ledger_adds_up()


@pytest.mark.parametrize("stream", [False, True])
def test_who_pays_credits_pays_the_least_for_any_answer_and_nothing_for_none(
    site: Site, up: FaultServer, stream: bool
) -> None:
    supplied = kit.supply(up, credits_per_1k_input=2_000, credits_per_1k_output=2_000)
    for name, made in CASES.items():
        talk, who = Talk(Shape.RESPONSE), kit.person("payer", plan="pro")
        up.default, due = made(talk, stream)
        call(site, who, talk, supplied.model, stream)
        (entry,) = who.closed()
        holds(entry, due, 2_000)
        assert (entry.amount >= 10) is bool(due.source), name
        assert entry.amount == who.used("credits")


# ---- clients that leave


@pytest.mark.parametrize("produced", [False, True])
def test_a_client_that_leaves_a_stream_pays_for_what_he_has_got(
    site: Site, up: FaultServer, talk: Talk, produced: bool
) -> None:
    supplied, who, gate = kit.supply(up), kit.person("leaver"), Gate()
    up.default = sse(*(talk.words() if produced else []), gate, done=False)
    with Raw(site) as raw:
        asked(talk, supplied.model, True).begin(raw, who)
        gate.wait_for(1)
        if produced:
            raw.head()
            seen = b""
            for piece in raw.chunks():
                seen += piece
                if TEXT.encode() in seen:
                    break
        raw.leave()
    assert up.wait_for(1, 3, where=lambda seen: seen.client_gone_at)
    gate.open()
    due = Due("client_gone", "estimated", None, OUTPUT) if produced else Due("client_gone")
    holds(who.closed()[0], due)
    assert kit.ledger_adds_up(who)


def test_a_client_that_leaves_a_whole_call_pays_what_it_has_used(
    site: Site, up: FaultServer, talk: Talk
) -> None:
    supplied, who, gate = kit.supply(up), kit.person("leaver"), Gate()
    up.default = talk.whole(talk.usage(21, 7)).but(delay_headers=gate)
    with Raw(site) as raw:
        asked(talk, supplied.model, False).begin(raw, who)
        gate.wait_for(1)
        raw.leave()
    gate.open()
    holds(who.closed()[0], Due("completed", "upstream", 21, 7))


LEAVING = {
    "the client left a stream behind some output",
    "the client left a stream before any output",
    "the client left a call that is not streamed",
}


@pytest.mark.once
def test_every_row_of_the_page_has_its_test_and_every_test_its_row() -> None:
    page = (ROOT / "docs" / "metering.md").read_text(encoding="utf-8")
    rows = set()
    for table in re.findall(r"^\| how it ended .*\n\|[- |]+\n((?:\|.*\n)+)", page, re.M):
        rows |= {line.split("|")[1].strip() for line in table.splitlines()}
    assert rows == set(CASES) | LEAVING | set(ELSEWHERE)
    for where in ELSEWHERE.values():
        file, _, name = where.partition("::")
        text = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert f"\ndef {name}" in text, where

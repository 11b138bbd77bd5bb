"""What a provider's object says of its end: a table for each kind of job, and its patience."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bsod.lib.terms import EndReason, ObjectKind, UsageSource
from proxy.jobs import LIFETIME, POLL, Ending, ending, first_look, next_look, nothing, whole

pytestmark = pytest.mark.once
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
VIDEO, RUN, RESPONSE, BATCH, TUNING, UPLOAD = (
    ObjectKind.VIDEO, ObjectKind.RUN, ObjectKind.RESPONSE, ObjectKind.BATCH,
    ObjectKind.FINE_TUNING_JOB, ObjectKind.UPLOAD,
)  # fmt: skip
DONE, FAILED, LEFT, LATE = (
    EndReason.COMPLETED, EndReason.UPSTREAM_ERROR, EndReason.CLIENT_GONE, EndReason.TIMEOUT,
)  # fmt: skip
THERE = Ending(True, None, None, 0, UsageSource.UPSTREAM, None, DONE)
HUGE, NEGATIVE = 10**13, -1


def said(prompt: int, completion: int, reason: EndReason = DONE, **more: Any) -> Ending:
    values = {"cached": 0, "source": UsageSource.UPSTREAM, "tier": None, **more}
    return Ending(True, prompt, completion, end_reason=reason, **values)


def tokens(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    return {"input_tokens": prompt, "output_tokens": completion, **more}


def run_tokens(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (VIDEO, "queued"), (VIDEO, "in_progress"),
        (RUN, "queued"), (RUN, "in_progress"), (RUN, "requires_action"), (RUN, "cancelling"),
        (RESPONSE, "queued"), (RESPONSE, "in_progress"),
        (BATCH, "validating"), (BATCH, "in_progress"), (BATCH, "finalizing"),
        (BATCH, "cancelling"),
        (TUNING, "validating_files"), (TUNING, "queued"), (TUNING, "running"), (TUNING, "paused"),
        (UPLOAD, "pending"),
        (VIDEO, "a status of tomorrow"), (VIDEO, None), (VIDEO, 7), (VIDEO, ["completed"]),
        (ObjectKind.FILE, "completed"),
    ],
)  # fmt: skip
def test_what_has_not_ended_goes_on(kind: ObjectKind, status: Any) -> None:
    usage = run_tokens(3, 4) | tokens(3, 4)
    assert ending(kind, {"status": status, "usage": usage, "trained_tokens": 9}) is None


@pytest.mark.parametrize("payload", [None, [], "completed", 7, {}, {"error": {"message": "no"}}])
@pytest.mark.parametrize("kind", list(LIFETIME))
def test_what_is_no_such_object_says_nothing(kind: ObjectKind, payload: Any) -> None:
    assert ending(kind, payload) is None


@pytest.mark.parametrize(
    ("kind", "payload", "end"),
    [
        (VIDEO, {"status": "completed"}, THERE),
        (VIDEO, {"status": "failed", "error": {"code": "moderation"}}, nothing(FAILED)),
        (VIDEO, {"status": "expired"}, nothing(LATE)),
        (UPLOAD, {"status": "completed", "file": {"id": "file-1"}}, THERE),
        (UPLOAD, {"status": "cancelled"}, nothing(LEFT)),
        (UPLOAD, {"status": "expired"}, nothing(LATE)),
    ],
)
def test_a_thing_is_due_when_it_is_there(
    kind: ObjectKind, payload: dict[str, Any], end: Ending
) -> None:
    assert ending(kind, payload) == end


@pytest.mark.parametrize(
    ("status", "usage", "end"),
    [
        ("completed", run_tokens(30, 4), said(30, 4)),
        ("incomplete", run_tokens(30, 4), said(30, 4)),
        ("failed", run_tokens(30, 4), said(30, 4, FAILED)),
        ("cancelled", run_tokens(30, 4), said(30, 4, LEFT)),
        ("expired", run_tokens(30, 4), said(30, 4, LATE)),
        ("completed", run_tokens(0, 0), said(0, 0)),
        ("completed", run_tokens(9, 1, prompt_token_details={"cached_tokens": 5}),
         said(9, 1, cached=5)),
        ("completed", None, whole()),
        ("incomplete", None, whole()),
        ("failed", None, nothing(FAILED)),
        ("cancelled", None, nothing(LEFT)),
        ("expired", None, nothing(LATE)),
        ("completed", run_tokens(NEGATIVE, 4), whole()),
        ("completed", run_tokens(3, HUGE), whole()),
        ("completed", run_tokens(3.5, 4), whole()),
        ("completed", run_tokens(True, 4), whole()),
        ("completed", run_tokens("3", 4), whole()),
        ("completed", [3, 4], whole()),
        ("failed", run_tokens(NEGATIVE, 4), nothing(FAILED)),
    ],
)  # fmt: skip
def test_a_run_costs_what_it_used_however_it_ended(status: str, usage: Any, end: Ending) -> None:
    assert ending(RUN, {"status": status, "usage": usage}) == end


@pytest.mark.parametrize(
    ("payload", "end"),
    [
        ({"status": "completed", "usage": tokens(7, 2)}, said(7, 2)),
        ({"status": "completed", "usage": tokens(7, 2), "service_tier": "default"},
         said(7, 2, tier="default")),
        ({"status": "completed", "usage": tokens(7, 2), "service_tier": 5}, said(7, 2)),
        ({"status": "incomplete",
          "usage": tokens(7, 2, input_tokens_details={"cached_tokens": 6})}, said(7, 2, cached=6)),
        ({"status": "incomplete",
          "usage": tokens(7, 2, input_tokens_details={"cached_tokens": NEGATIVE})}, said(7, 2)),
        ({"status": "cancelled", "usage": tokens(7, 2)}, said(7, 2, LEFT)),
        ({"status": "failed", "usage": tokens(7, 0)}, said(7, 0, FAILED)),
        ({"status": "failed"}, nothing(FAILED)),
        ({"status": "completed"}, whole()),
    ],
)  # fmt: skip
def test_a_background_response_costs_what_it_used(payload: dict[str, Any], end: Ending) -> None:
    assert ending(RESPONSE, payload) == end


def from_file(name: str, reason: EndReason = DONE) -> Ending:
    return Ending(True, None, None, 0, UsageSource.ESTIMATED, None, reason, name)


@pytest.mark.parametrize(
    ("payload", "end"),
    [
        ({"status": "completed", "usage": tokens(70, 20), "output_file_id": "f"}, said(70, 20)),
        ({"status": "expired", "usage": tokens(70, 20), "output_file_id": "f"},
         said(70, 20, LATE)),
        ({"status": "cancelled", "usage": tokens(70, 20)}, said(70, 20, LEFT)),
        ({"status": "completed", "output_file_id": "f"}, from_file("f")),
        ({"status": "cancelled", "usage": None, "output_file_id": "f"}, from_file("f", LEFT)),
        ({"status": "completed", "usage": tokens(NEGATIVE, 1), "output_file_id": "f"},
         from_file("f")),
        # 0 tokens of lines that have been answered is no statement; of none it is.
        ({"status": "completed", "usage": tokens(0, 0), "output_file_id": "f"}, from_file("f")),
        ({"status": "completed", "usage": tokens(0, 0), "output_file_id": None}, said(0, 0)),
        ({"status": "completed", "output_file_id": "../models"}, whole()),
        ({"status": "completed", "output_file_id": ["f"]}, whole()),
        ({"status": "completed", "error_file_id": "e"}, nothing(DONE)),
        ({"status": "cancelled", "output_file_id": ""}, nothing(LEFT)),
        ({"status": "completed", "request_counts": {"total": 2, "completed": 2}}, whole()),
        ({"status": "completed", "request_counts": {"total": 2, "completed": 0}}, nothing(DONE)),
        ({"status": "failed", "usage": tokens(70, 20)}, nothing(FAILED)),
    ],
)  # fmt: skip
def test_a_batch_costs_its_usage_or_asks_for_its_output(
    payload: dict[str, Any], end: Ending
) -> None:
    assert ending(BATCH, payload) == end


@pytest.mark.parametrize(
    ("status", "trained", "end"),
    [
        ("succeeded", 5000, said(5000, 0)),
        ("failed", 5000, said(5000, 0, FAILED)),
        ("cancelled", 5000, said(5000, 0, LEFT)),
        ("succeeded", None, whole()),
        ("succeeded", 0, whole()),
        ("succeeded", NEGATIVE, whole()),
        ("succeeded", HUGE, whole()),
        ("failed", None, nothing(FAILED)),
        ("cancelled", 0, nothing(LEFT)),
    ],
)
def test_a_fine_tuning_costs_what_it_trained_on(status: str, trained: Any, end: Ending) -> None:
    assert ending(TUNING, {"status": status, "trained_tokens": trained}) == end


@pytest.mark.parametrize("kind", list(POLL))
def test_a_job_is_looked_at_ever_more_seldom_and_often_enough(kind: ObjectKind) -> None:
    at, looks = first_look(kind, NOW), 0
    pauses = [at - NOW]
    while at < NOW + LIFETIME[kind]:
        looks += 1
        then = next_look(kind, looks, at)
        pauses.append(then - at)
        at = then
    assert pauses == sorted(pauses)
    assert pauses[-1] <= min(timedelta(minutes=5), LIFETIME[kind] / 20)


@pytest.mark.parametrize("kind", list(LIFETIME))
def test_after_failures_it_is_asked_again_within_five_minutes(kind: ObjectKind) -> None:
    if kind not in POLL:
        assert first_look(kind, NOW) == NOW + LIFETIME[kind], "nobody can be asked"
        return
    pauses = [next_look(kind, looks, NOW, failed=True) - NOW for looks in range(1, 40)]
    assert timedelta(seconds=5) < pauses[0] < pauses[1]
    assert pauses[-1] == timedelta(minutes=5)

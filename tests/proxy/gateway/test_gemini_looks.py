"""The worker's looks at Gemini's films, whose state is an operation and no video object."""

from typing import Any

import pytest

from proxy.gateway import jobs
from proxy.models import Job
from proxy.providers.gemini_films import Film
from tests import kit
from tests.kit import Person
from tests.proxy.gateway.begun import begun, end_of, nothing_due, poll
from tests.upstream import FaultServer, Reply, json_reply
from tests.upstream.gemini import OPERATION, google_error, operation

pytestmark = pytest.mark.once

FILM = Film("veo-3.1-generate-preview", "7hgvzz3v5yhc", 1_790_000_000, 8, "1280x720")


@pytest.fixture(autouse=True)
def mine(database: None) -> None:
    nothing_due()


def filming(who: Person, up: FaultServer) -> Job:
    """A film that has been begun at Gemini, and is due to be looked at."""
    supplied = kit.supply(up, kind="gemini", base_url=f"{up.url}/v1beta/openai")
    job = begun(who, supplied, each=1, reserved=1)
    Job.objects.filter(pk=job.pk).update(path=f"videos/{FILM.id}")
    return job


@pytest.mark.parametrize(
    ("shown", "end"),
    [
        (operation(done=True), ("settled", 1, "upstream", "completed")),
        (operation(done=True, file=None), ("released", 0, "", "upstream_error")),
        (operation(done=True, error={"code": 3, "message": "no"}),
         ("released", 0, "", "upstream_error")),
    ],
)  # fmt: skip
def test_the_worker_closes_a_film_by_its_operation(
    alice: Person, up: FaultServer, shown: dict[str, Any], end: tuple[Any, ...]
) -> None:
    filming(alice, up)
    up.script(json_reply(shown))
    assert poll() == 1
    assert end_of(alice) == end
    assert [seen.path for seen in up.seen] == [f"/v1beta/{OPERATION}"]
    assert up.seen[0].header("authorization") is None


def test_a_film_that_runs_or_cannot_be_seen_stays_open(alice: Person, up: FaultServer) -> None:
    job = filming(alice, up)
    refused = Reply(500, (("Content-Type", "application/json"),), google_error(500, "no"))
    for reply, seen in (
        (json_reply(operation()), jobs.Look.RUNNING),
        (refused, jobs.Look.UNSEEN),
        (json_reply({"error": {"code": 500}}), jobs.Look.UNSEEN),
    ):
        up.script(reply)
        assert jobs.look(job.pk) is seen
    assert alice.entries()[0].state == "open"


def test_an_id_that_is_no_film_of_geminis_is_not_asked_for(alice: Person, up: FaultServer) -> None:
    job = filming(alice, up)
    Job.objects.filter(pk=job.pk).update(path="videos/video_123")
    assert jobs.look(job.pk) is jobs.Look.UNSEEN
    assert up.seen == []

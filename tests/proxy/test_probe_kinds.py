"""What a probe finds at providers that list their models otherwise, or not at all."""

import pytest

from bsod.lib.terms import Blame
from proxy import probe
from proxy.models import ProviderKey
from tests import kit
from tests.upstream import FaultServer, Reply, error, json_reply
from tests.upstream.gemini import google_error, perplexity

pytestmark = pytest.mark.once


def gemini(up: FaultServer) -> ProviderKey:
    return kit.supply(up, kind="gemini", base_url=f"{up.url}/v1beta/openai").key_row()


def test_gemini_is_asked_for_its_own_list(database: None, up: FaultServer) -> None:
    row = {"name": "models/gemini-3-flash", "supportedGenerationMethods": ["generateContent"],
           "inputTokenLimit": 1000}  # fmt: skip
    up.default = json_reply({"models": [row]})
    found = probe.list_models(gemini(up))
    assert (found.blame, len(found.models or ())) == (Blame.NOBODY, 1)
    assert up.seen[0].target == b"/v1beta/models?pageSize=1000"


@pytest.mark.parametrize(
    ("status", "text", "blame"),
    [(400, "API key not valid. Please pass a valid API key.", Blame.AUTH),
     (503, "The model is overloaded.", Blame.FAILURE)],
)  # fmt: skip
def test_a_key_that_gemini_refuses_does_not_work(
    database: None, up: FaultServer, status: int, text: str, blame: Blame
) -> None:
    body = google_error(status, text)
    up.default = Reply(status, (("Content-Type", "application/json"),), body)
    assert probe.list_models(gemini(up)).blame is blame


def test_an_answer_proves_a_key_of_perplexitys_and_its_models(
    database: None, up: FaultServer
) -> None:
    key = kit.supply(up, kind="perplexity", base_url=up.url).key_row()
    up.default = perplexity
    found = probe.list_models(key)
    assert found.works
    assert len(found.models or ()) == 4
    assert (up.seen[0].method, up.seen[0].path) == ("POST", "/chat/completions")
    assert probe.call(key).works, "it streams to its end without [DONE]"
    up.default = error(401)
    assert probe.list_models(key).blame is Blame.AUTH

"""Which of a provider's keys serves a call."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proxy.models import ProviderKey
from proxy.pool import bump, vault
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import chat_once
from tests.upstream import FaultServer, Gate, chat


def test_the_key_used_last_is_used_again_while_it_is_nearly_the_idlest(
    launch: Any, up: FaultServer, alice: Person, bob: Person
) -> None:
    site, supplied = launch(1), kit.supply(up, keys=4)
    for _ in range(4):
        assert site.chat(alice, supplied).status_code == 200
    assert len({seen.key for seen in up.seen}) == 1

    up.reset()
    gate = Gate()
    up.default = chat().but(delay_headers=gate)
    with ThreadPoolExecutor(12) as pool:
        calls = pool.map(lambda _: chat_once(site, alice, kit.ask(supplied)).status, range(12))
        gate.wait_for(12, 20)
        gate.open()
        assert [*calls] == [200] * 12

    spread = Counter(seen.key for seen in up.seen)
    assert len(spread) == 4, "a busy key is left for idle ones"
    assert max(spread.values()) <= 5


def test_a_secret_that_cannot_be_opened_is_never_sent(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up, keys=2)
    broken = supplied.key_row(0)
    ProviderKey.objects.filter(pk=broken.pk).update(sealed=vault().seal("another-row", "sk-x"))
    bump()

    assert [site.chat(alice, supplied).status_code for _ in range(3)] == [200] * 3
    assert {seen.key for seen in up.seen} == {supplied.keys[1]}

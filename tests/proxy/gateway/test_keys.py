"""Keys on the wire: every way of a bad one, and how soon a good one stops being good."""

import json
import secrets
from datetime import timedelta
from typing import Any

import pytest
import requests

from accounts.keys import tokens
from accounts.keys.models import ApiKey
from accounts.keys.service import create_key, revoke
from accounts.keys.tokens import mint
from accounts.service import ban, lift_bans
from bsod.lib import clock
from quotas.models import Balance, Pace
from tests import kit
from tests.kit import Person, Site
from tests.rawclient import CHAT, JSON_TYPE, Header, Raw, chat_once, once
from tests.upstream import FaultServer, Gate, Seen, chat_stream, sse_frame
from tests.upstream.reply import Reply as Up

MANY = 12  # connections, so that both workers are met


def bad_keys(good: str) -> list[list[Header]]:
    head, secret = good[:17], good[17:-4]
    other = "a" if secret[0] != "a" else "b"
    values: list[str | bytes] = [
        "", "Bearer", "Bearer ", "Bearer x", f"Bearer {good[:-1]}", f"Bearer {good}x",
        f"Bearer {good[1:]}", f"Bearer x{good}", f"Bearer {mint()[0]}",
        f"Bearer {mint('other')[0]}", f"Bearer {good.replace('bsod-', 'sk-')}",
        f"Bearer {head}{other}{secret[1:]}{good[-4:]}", f"Bearer {good.upper()}",
        "Bearer " + "k" * 10_000, f"Bearer {good} {good}", f"Bearer {good},{good}",
        f"Bearer Bearer {good}", f"Basic {good}", f"Token {good}", good, f"Bearer\t{good}x",
        "Bearer ' OR 1=1 --", "Bearer %00", f"Bearer {good[:-5]}\u0430".encode(),
        f"Bearer {good}\u200b".encode(), "Bearer \U0001f511".encode(), b"Bearer \xff\xfe",
    ]  # fmt: skip
    return [[], *([("Authorization", value)] for value in values)]


def test_every_way_of_a_bad_key_gets_one_and_the_same_401_and_writes_nothing(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    body = json.dumps(kit.ask(supplied)).encode()
    replies = {}
    for headers in bad_keys(alice.secret):
        for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/balance/")):
            sent = body if method == "POST" else None
            reply = once(site, method, path, [*headers, JSON_TYPE], sent)
            assert (reply.status, reply.error["code"]) == (401, "invalid_api_key"), headers
            replies[method, path, str(headers)] = reply

    assert len({reply.body for reply in replies.values()}) == 1
    assert len({reply.header("content-length") for reply in replies.values()}) == 1
    assert (up.connections, alice.entries()) == (0, [])
    assert not Balance.objects.filter(account=alice.account).exists()
    assert not Pace.objects.filter(owner=f"user:{alice.account.pk}").exists()
    assert ApiKey.objects.get(pk=alice.key.pk).last_used_at is None


@pytest.mark.parametrize(
    "value", [b"Bearer a\x00b", b"Bearer a\rb", b"Bearer a\nb", b"Bearer \x7f"]
)
def test_control_bytes_in_the_key_are_no_http(
    site: Site, up: FaultServer, alice: Person, value: bytes
) -> None:
    reply = once(site, "POST", CHAT, [("Authorization", value), JSON_TYPE], b"{}")

    assert reply.status in (400, 401)
    assert reply.error["code"] in ("invalid_request", "invalid_api_key")
    assert up.connections == 0


def test_a_scheme_may_be_written_in_any_case(site: Site, alice: Person) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        reply = once(site, "GET", "/v1/models", [("Authorization", f"{scheme} {alice.secret}")])
        assert reply.status == 200


def test_a_key_of_another_accepted_prefix_is_good_with_that_prefix_only(
    site: Site, alice: Person
) -> None:
    text, token = mint("yout")
    ApiKey.objects.filter(pk=alice.key.pk).update(public_id=token.public_id, digest=token.digest)

    answers = [
        once(site, "GET", "/v1/models", [("Authorization", f"Bearer {spelling}")]).status
        for spelling in (text, text.replace("yout-", "bsod-"))
    ]

    assert answers == [200, 401]


def everywhere(site: Site, who: Person, supplied: kit.Supply) -> set[tuple[int, str]]:
    """(status, code) of calls over many connections, on every kind of route."""
    found = set()
    for number in range(MANY):
        response = requests.get(f"{site.url}/v1/models", headers=who.auth, timeout=10)
        if number % 3 == 1:
            response = requests.post(
                site.url + CHAT, json=kit.ask(supplied), headers=who.auth, timeout=10
            )
        elif number % 3 == 2:
            response = requests.get(f"{site.url}/balance/", headers=who.auth, timeout=10)
        code = response.json()["error"]["code"] if response.status_code != 200 else ""
        found.add((response.status_code, code))
    return found


def test_a_revoked_key_is_refused_on_the_next_request_of_every_worker(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    assert everywhere(site, alice, supplied) == {(200, "")}
    calls = len(alice.closed(MANY // 3))

    revoke(alice.key)

    assert everywhere(site, alice, supplied) == {(401, "invalid_api_key")}
    assert len(alice.entries()) == calls
    assert up.count() == calls


def test_a_key_expires_by_the_clock_and_may_be_given_more_time(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    keys = ApiKey.objects.filter(pk=alice.key.pk)

    keys.update(expires_at=clock.now() - timedelta(milliseconds=1))
    assert everywhere(site, alice, supplied) == {(401, "invalid_api_key")}
    assert up.connections == 0

    keys.update(expires_at=clock.now() + timedelta(hours=1))
    assert everywhere(site, alice, supplied) == {(200, "")}


def test_a_banned_account_is_refused_on_every_worker_until_the_ban_is_lifted(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    _, second = create_key(alice.account, "second")
    assert everywhere(site, alice, supplied) == {(200, "")}
    calls = len(alice.closed(MANY // 3))

    ban(alice.account, "resold keys")

    for secret in (alice.secret, second):
        who = Person(alice.account, alice.key, secret)
        assert everywhere(site, who, supplied) == {(403, "account_banned")}
    error = site.chat(alice, supplied).json()["error"]
    assert error["type"] == "permission_error"
    assert error["ban"] == {"reason": "resold keys", "until": None}
    forged = alice.secret[:-47] + secrets.token_urlsafe(32)
    wrong = Person(alice.account, alice.key, forged + tokens._checksum(forged))
    assert site.chat(wrong, supplied).status_code == 401, "a stranger does not learn of the ban"
    assert (up.count(), len(alice.entries())) == (calls, calls)
    lift_bans(alice.account)
    assert everywhere(site, alice, supplied) == {(200, "")}


def test_a_ban_with_an_end_says_when_and_ends_by_itself(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    ban(alice.account, "was over long ago", until=clock.now() - timedelta(seconds=1))
    assert site.chat(alice, supplied).status_code == 200

    until = clock.now() + timedelta(hours=1)
    ban(alice.account, "an hour", until=until)
    ban(alice.account, "a minute", until=clock.now() + timedelta(minutes=1))

    shown = site.chat(alice, supplied).json()["error"]["ban"]
    assert shown == {"reason": "an hour", "until": until.isoformat().replace("+00:00", "Z")}


def test_a_ban_in_the_middle_of_a_stream_stops_new_calls_only(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    gate = Gate()
    whole = chat_stream(["one", "two"], prompt_tokens=4, completion_tokens=2)

    def gated(seen: Seen) -> Up:
        frames: list[Any] = list(whole.pieces(seen))
        return whole.but(body=[*frames[:2], gate, *frames[2:]])

    up.script(gated)
    with Raw(site) as raw:
        raw.chat(alice, kit.ask(supplied, stream=True))
        assert raw.head().status == 200
        chunks = raw.chunks()
        assert b"one" in b"".join([next(chunks)]) + b"".join([next(chunks)])

        ban(alice.account, "in between")
        revoke(alice.key)
        assert chat_once(site, alice, kit.ask(supplied)).status == 401
        gate.open()
        rest = b"".join(chunks)

    assert b"two" in rest
    assert rest.endswith(sse_frame("[DONE]"))
    entry = alice.closed()[0]
    assert (entry.end_reason, entry.amount, up.count()) == ("completed", 6, 1)
    assert kit.ledger_adds_up(alice)


def test_a_key_of_a_network_is_refused_from_any_other(site: Site, up: FaultServer) -> None:
    supplied = kit.supply(up)
    near = kit.person("near", networks=["127.0.0.0/8", "10.0.0.0/8"])
    far = kit.person("far", networks=["10.0.0.0/8", "2001:db8::/32"])

    assert everywhere(site, near, supplied) == {(200, "")}
    assert everywhere(site, far, supplied) == {(403, "network_not_allowed")}
    assert far.entries() == []


def test_who_is_switched_off_or_no_longer_staff_has_no_key(
    site: Site, up: FaultServer, alice: Person
) -> None:
    supplied = kit.supply(up)
    boss = kit.person("boss", admin=True, operator=True)
    assert everywhere(site, boss, supplied) == {(200, "")}

    boss.account.is_staff = alice.account.is_active = False
    boss.account.save()
    alice.account.save()

    assert everywhere(site, boss, supplied) == {(401, "invalid_api_key")}
    assert everywhere(site, alice, supplied) == {(401, "invalid_api_key")}

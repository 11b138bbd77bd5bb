"""No request goes to an address that holds a cloud's metadata, whatever name leads to it."""

import asyncio
import ipaddress

import pytest

from bsod.lib import addresses, http
from bsod.lib.terms import Blame
from proxy import probe
from tests import kit
from tests.upstream import FaultServer

pytestmark = pytest.mark.once


@pytest.mark.parametrize("host", [
    "169.254.169.254", "169.254.0.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
    "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200",
    "metadata", "METADATA.google.internal", "metadata.google.internal.",
])  # fmt: skip
def test_link_local_and_metadata_addresses_are_forbidden_however_they_are_spelt(host: str) -> None:
    assert addresses.forbidden(host)


@pytest.mark.parametrize("host", [
    "127.0.0.1", "10.0.0.1", "192.168.1.1", "api.openai.com", "localhost", "8.8.8.8", "::1",
    "169.253.255.255", "metadata.example.com", "",
])  # fmt: skip
def test_private_and_public_ones_are_not(host: str) -> None:
    assert not addresses.forbidden(host)


@pytest.fixture
def as_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own address counts as one of a cloud's."""
    monkeypatch.setattr(addresses, "_METADATA", {ipaddress.ip_address("127.0.0.1")})


async def _status(up: FaultServer, host: str) -> int:
    client = http.Client(5)
    try:
        reply = await client.open("GET", f"http://{host}:{up.port}/v1", "/models", {}, b"")
        reply.abort()
        return reply.status
    finally:
        await client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_call_does_not_connect_to_one(
    up: FaultServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert asyncio.run(_status(up, host)) == 200
    connections = up.connections
    with monkeypatch.context() as patch:
        patch.setattr(addresses, "_METADATA", {ipaddress.ip_address("127.0.0.1")})
        with pytest.raises(http.Unreachable):
            asyncio.run(_status(up, host))

    assert up.connections == connections


@pytest.mark.usefixtures("as_metadata")
def test_a_probe_does_not_connect_to_one(up: FaultServer, database: None) -> None:
    key = kit.supply(up).provider.keys.get()

    finding = probe.list_models(key)

    assert (finding.blame, finding.note) == (Blame.CONNECT, "cannot be reached")
    assert up.connections == 0

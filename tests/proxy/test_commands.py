"""`add_provider`, `sync_models` and `rotate_vault` as an operator uses them."""

import io

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import override_settings

from proxy import service
from proxy.models import Provider, ProviderKey
from proxy.pool import load, vault
from tests import kit
from tests.kit import unique
from tests.upstream import FaultServer, error, models

URL = "https://models.example.com/v1"


def test_rotation_seals_everything_under_the_new_key_and_names_what_is_broken(
    up: FaultServer,
) -> None:
    good, bad = kit.supply(up), kit.supply(up)
    broken = bad.key_row()
    ProviderKey.objects.filter(pk=broken.pk).update(sealed="damaged")
    fresh = Fernet.generate_key().decode()
    output = io.StringIO()
    try:
        with override_settings(VAULT_KEYS=[fresh, *settings.VAULT_KEYS]):
            with pytest.raises(CommandError, match=f"No key of VAULT_KEYS opens: .*{broken}"):
                call_command("rotate_vault", stdout=output)
            assert "provider keys sealed anew" in output.getvalue()
        with override_settings(VAULT_KEYS=[fresh]):
            row = good.key_row()
            assert vault().open(row.uid, row.sealed) == good.keys[0]
        assert ProviderKey.objects.get(pk=broken.pk).sealed == "damaged"
    finally:
        ProviderKey.objects.filter(sealed="damaged").delete()
        with override_settings(VAULT_KEYS=[*settings.VAULT_KEYS, fresh]):
            service.rotate_vault()
    assert good.keys[0] in [x.secret for x in load(1).keys[good.provider.pk]]


def test_the_command_adds_a_provider_and_says_how_its_keys_are(up: FaultServer) -> None:
    slug, good, bad = unique("up"), unique("sk"), unique("sk")
    up.default = models([unique("m")])
    up.on(error(401), key=bad)
    out, err = io.StringIO(), io.StringIO()
    call_command(
        "add_provider", slug, "--kind", "openai", "--base-url", up.base_url, "--key", good,
        "--key", bad, "--catch-all", stdout=out, stderr=err,
    )  # fmt: skip
    assert out.getvalue().splitlines() == [
        f"key …{good[-4:]} answers",
        f"key …{bad[-4:]} refuses (401)",
        f"{slug}: 1 models listed",
    ]
    assert f"…{bad[-4:]} rests" in err.getvalue()
    assert good not in out.getvalue()
    provider = Provider.objects.get(slug=slug)
    assert (provider.kind, provider.catch_all) == ("openai", True)
    assert ProviderKey.objects.filter(provider=provider).count() == 2


def test_secrets_come_by_stdin_too(up: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    slug, given = unique("up"), [unique("sk-first"), unique("sk-second")]
    up.default = models([unique("m")])
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(given) + "\n"))
    where = ("--kind", "openai", "--base-url", up.base_url)
    call_command("add_provider", slug, *where, "--key", "-", stdout=io.StringIO())
    stored = Provider.objects.get(slug=slug).keys.values_list("last4", flat=True)
    assert sorted(stored) == sorted(secret[-4:] for secret in given)


def test_the_command_refuses_in_words() -> None:
    with pytest.raises(CommandError, match="There is no kind"):
        call_command("add_provider", "x", "--kind", "x", "--base-url", URL, "--key", "k")


def test_the_sync_command_syncs_one_or_names_who_is_silent(up: FaultServer) -> None:
    up.default = models([unique("m"), unique("m")])
    url = up.base_url
    provider = service.add_provider(unique("up"), "compatible", url, [unique("sk")]).provider
    out = io.StringIO()
    call_command("sync_models", provider.slug, stdout=out)
    assert out.getvalue() == f"{provider.slug}: 2 models\n"
    up.default = error(500)
    with pytest.raises(CommandError, match=f"No model list from: {provider.slug}"):
        call_command("sync_models", provider.slug)
    with pytest.raises(CommandError, match="There is no provider 'nobody-here'"):
        call_command("sync_models", "nobody-here")

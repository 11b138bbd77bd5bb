"""A log line is one line, or one object, and holds nothing that must not be read."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys.tokens import mint
from bsod import logs
from bsod.lib import redaction
from bsod.lib.redaction import MARK
from tests.bsod.launcher import ROOT
from tests.bsod.test_settings import environment, refusal

pytestmark = pytest.mark.once
KEYS = redaction.pattern(["bsod", "yout"])
SECRETS = (
    "sk-proj-Ab3_dEf-9hIjKlMnOpQrStUv", "sk-ant-api03-AAAAbbbbCCCCdddd",
    "sk-or-v1-0123456789abcdef", "AIzaSyA-1234567890abcdefghijklmno",
    "pplx-0123456789abcdef01234567", "gsk_0123456789abcdefABCD",
    "xai-0123456789abcdefABCDEF", "123456789:AAExampleExampleExampleExampleExamp",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
)  # fmt: skip


@pytest.fixture(params=["Line", "Json"])
def log(request: pytest.FixtureRequest) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger that writes as ours do, and what it has written."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(getattr(logs, request.param)(("bsod", "yout")))
    logger = logging.Logger("bsod.test")
    logger.addHandler(handler)
    yield logger, out
    handler.close()


@pytest.mark.parametrize("secret", [*SECRETS, mint("bsod")[0], mint("yout")[0]])
def test_no_key_is_in_a_line_wherever_it_came_from(
    log: tuple[logging.Logger, io.StringIO], secret: str
) -> None:
    logger, out = log
    logger.info("a message with %s in it", secret)
    logger.info(f"https://api.example.com/v1?key={secret}&x=1", extra={"fields": {"name": secret}})
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        logger.exception("it failed")
    assert secret not in out.getvalue()
    assert out.getvalue().count(MARK) >= 4


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcdef123456", f"Authorization: Bearer {MARK}"),
        ("{'authorization': 'Basic dXNlcjpwYXNzd29yZA=='}", f"{{'authorization': 'Basic {MARK}'}}"),
        ("x-api-key=hunter2hunter2, and more", f"x-api-key={MARK}, and more"),
        ('"password": "correct horse"', f'"password": "{MARK} horse"'),
        ("postgres://bsod:p%40ss@db:5432/x", f"postgres://bsod:{MARK}@db:5432/x"),
        ("GET /x?api_key=abcdefgh&model=y", f"GET /x?api_key={MARK}&model=y"),
        ("prompt_tokens=1234567 model=gpt-5.4", "prompt_tokens=1234567 model=gpt-5.4"),
        ("request 01M80Z8ZRGBC7EWQPH0TABNHMN failed", "request 01M80Z8ZRGBC7EWQPH0TABNHMN failed"),
        ("https://api.openai.com/v1 answered 500", "https://api.openai.com/v1 answered 500"),
        ("task-force disk-usage risk-free", "task-force disk-usage risk-free"),
    ],
)
def test_what_is_said_by_its_name_goes_and_the_rest_stays(text: str, left: str) -> None:
    assert redaction.redact(text, KEYS) == left


@given(st.text(max_size=200), st.sampled_from(SECRETS))
def test_no_text_around_a_key_hides_it(text: str, secret: str) -> None:
    assert secret not in redaction.redact(f"{text} {secret} {text}", KEYS)


@given(st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redaction.redact(text, KEYS)
    assert redaction.redact(once, KEYS) == once


def test_a_text_made_to_be_slow_is_not() -> None:
    for nasty in ("a" * 200_000, "sk-" * 60_000, "bearer " * 30_000, "key=" * 50_000,
                  "://:" * 50_000, '"' * 100_000, "a-" * 100_000, "eyJ-" * 50_000):  # fmt: skip
        redaction.redact(nasty, KEYS)  # the suite's own timeout is the bound


def test_a_message_cannot_begin_a_line_of_its_own(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, out = log
    logger.warning("one\n2026-01-01 00:00:00 ERROR bsod: forged\r\x1b[31m\u2028", extra={
        "fields": {"route": "GET /x"}})  # fmt: skip
    (line,) = out.getvalue().splitlines()
    assert "GET /x" in line
    assert "\x1b" not in line


def test_an_object_a_line_says_what_the_record_says(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, out = log
    odd = {"n": 1, "f": 1.5, "none": None, "text": "\ud800 odd", "other": Path("x"), "level": "no"}
    try:
        raise RuntimeError("why")
    except RuntimeError:
        logger.error("it failed: %d", 7, exc_info=True, extra={"fields": odd})
    if not out.getvalue().startswith("{"):
        assert "it failed: 7 n=1 f=1.5" in out.getvalue()
        return
    (line,) = out.getvalue().splitlines()
    said: dict[str, Any] = json.loads(line)
    assert (said["event"], said["level"], said["logger"]) == ("it failed: 7", "ERROR", "bsod.test")
    assert (said["n"], said["f"], said["none"], said["other"]) == (1, 1.5, None, "x")
    assert "RuntimeError: why" in said["error"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", said["ts"])


# ---- settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOG_FORMAT", "xml"), ("ACCESS_LOG", "yes"), ("LOG_LEVEL", "LOUD"),
     ("METRICS_TOKEN", "short")],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_one_sentence(
    tmp_path: Path, name: str, value: str
) -> None:
    sentence = refusal(tmp_path, **{name: value})
    assert sentence.startswith(f"{name} must be ")
    assert value not in sentence or name != "METRICS_TOKEN"


def test_django_writes_objects_where_that_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); import logging;"
        "logging.getLogger('any').warning('hello %s', 'sk-' + 'a' * 30)"
    )
    assert logged(tmp_path, code) == f"hello {MARK}"


def test_the_servers_own_lines_have_the_same_form(tmp_path: Path) -> None:
    code = (
        "from gunicorn.config import Config; from bsod.serverlog import ServerLog;"
        "ServerLog(Config()).error('it ended, sk-' + 'a' * 30)"
    )
    assert logged(tmp_path, code) == f"it ended, {MARK}"


def logged(data_dir: Path, code: str) -> str:
    """The one line that a process of ours writes."""
    env = {"LOG_FORMAT": "json", "DJANGO_SETTINGS_MODULE": "bsod.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(data_dir, env), text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stderr)["event"])

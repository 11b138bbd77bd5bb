"""No page takes a body without end, however it is sent and whoever sends it."""

import pytest
import requests

from bsod.asgi import FORMS
from tests.kit import Site

pytestmark = pytest.mark.once
PIECE = b"x" * 100_000


def test_a_body_that_says_it_is_too_large_is_refused_at_once(site: Site) -> None:
    answer = requests.post(site.url + "/admin/login/", data=b"x" * (FORMS + 1), timeout=9)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_one_that_does_not_say_how_long_it_is_is_refused_where_it_becomes_too_large(
    site: Site,
) -> None:
    pieces = iter([PIECE] * (FORMS // len(PIECE) + 5))
    answer = requests.post(site.url + "/admin/login/", data=pieces, timeout=9)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_a_form_of_the_usual_size_is_read(site: Site) -> None:
    answer = requests.post(site.url + "/admin/login/", data={"username": "x" * 200_000}, timeout=9)
    assert answer.status_code == 403, "read, and refused for the token it lacks"

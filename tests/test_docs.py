"""docs/api.md is the route table, printed: a row that is not on the page fails here."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from django.utils.translation import override

from proxy import docs
from proxy.routes import ROUTES
from tests import kit

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parent.parent
AGAIN = "docs/api.md is not the table's: python -m proxy.docs"


def test_the_page_is_the_table_as_it_is() -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), AGAIN


def test_every_route_has_its_line() -> None:
    lines = [line.split(" | ") for line in docs.PAGE.read_text().splitlines()]
    shown = sorted((line[0], line[1]) for line in lines if line[0].startswith("| ") and line[1:])
    rows = [(f"| {route.method}", f"`{docs.shown_path(route)}`") for route in ROUTES]
    assert [line for line in shown if line[1].startswith("`")] == sorted(rows), AGAIN


def test_a_new_row_changes_the_page() -> None:
    row = dataclasses.replace(ROUTES[0], path="/v1/brand-new", group="brand_new")
    page = docs.page([*ROUTES, row])
    assert "## Brand new" in page
    assert "`/v1/brand-new`" in page
    assert page != docs.PAGE.read_text(encoding="utf-8")


def test_the_page_is_in_english_whoever_prints_it() -> None:
    with override("ru"):
        assert docs.page() == docs.PAGE.read_text(encoding="utf-8"), AGAIN


def test_the_command_prints_the_page_again(tmp_path: Path) -> None:
    made = tmp_path / "api.md"
    command = [sys.executable, "-m", "proxy.docs", str(made)]
    subprocess.run(command, cwd=ROOT, env=kit.environment(), check=True, timeout=60)
    assert made.read_text(encoding="utf-8") == docs.page()


def test_no_line_of_the_page_breaks_its_table() -> None:
    for line in docs.PAGE.read_text().splitlines():
        if line.startswith("|"):
            assert line.count(" | ") == 5, line

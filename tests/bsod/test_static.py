"""Scripts in their parts: each is asked for at an address that changes with what is in it."""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from django.contrib.staticfiles.storage import staticfiles_storage
from django.test import override_settings

from bsod import static
from tests.kit import Site

pytestmark = pytest.mark.once
MAIN = "console/playground/main.js"
_IMPORTED = re.compile(r'(?:from|import) ?\(?"(\.[^"]+)"')


def test_a_module_and_all_it_imports_are_kept_for_good_under_their_versions(site: Site) -> None:
    todo, seen = [staticfiles_storage.url(MAIN)], {}
    with requests.Session() as browser:
        while todo:
            address = todo.pop()
            if address in seen:
                continue
            answer = browser.get(site.url + address, headers={"Range": "bytes=0-9"}, timeout=20)
            kept, vendored = answer.headers["Cache-Control"], "/vendor/" in address
            assert "immutable" in kept, address
            assert vendored or (answer.status_code == 200 and "?v=" in address), address
            seen[address] = answer.text
            folder = posixpath.dirname(address.partition("?")[0])
            if not vendored:
                todo += [posixpath.normpath(f"{folder}/{one}")
                         for one in _IMPORTED.findall(answer.text)]  # fmt: skip
    plain = [address.partition("?")[0] for address in seen]
    # Under two addresses one module would be there twice.
    assert len(plain) == len(set(plain))
    own = {f"/static/console/playground/{path.name}"
           for path in Path("static/console/playground").glob("*.js")}  # fmt: skip
    assert own <= set(plain)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Writes a script among the static files, as an upgrade would."""

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        static._version.cache_clear()

    with override_settings(STATICFILES_DIRS=[tmp_path]):
        yield write
    static._version.cache_clear()


def test_a_part_that_changes_changes_the_address_of_all_that_import_it(
    shelf: Callable[[str, str], None],
) -> None:
    shelf("top.js", 'import { b } from "./middle.js";\nconst c = () => import("./late.js");')
    shelf("middle.js", 'import "./low.js";\nexport { b } from "./low.js";')
    shelf("late.js", "export const c = 1;")
    shelf("low.js", "export const b = 1;")
    names = ("top.js", "middle.js", "late.js", "low.js")
    before = {name: staticfiles_storage.url(name) for name in names}
    shelf("low.js", "export const b = 2;")
    after = {name: staticfiles_storage.url(name) for name in names}
    assert [name for name in names if before[name] == after[name]] == ["late.js"]
    shelf("late.js", "export const c = 2;")
    assert staticfiles_storage.url("top.js") != after["top.js"]
    assert staticfiles_storage.url("middle.js") == after["middle.js"]

"""The samples beside curl: each asks its own route, and is a program as it stands."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bsod.console import samples
from bsod.console.recipes import recipes
from proxy import docs
from proxy.route import BodyKind
from proxy.routes import ROUTES

pytestmark = pytest.mark.once
SAID = {
    docs.name(route): {id_: code for id_, _name, code in samples.languages(route, "http://h")}
    for route in ROUTES
}  # fmt: skip
QUICK = {id_: code for id_, _name, code in samples.quick_start("http://h", 'a"model', "KEY")}


def test_every_route_is_asked_in_every_language() -> None:
    for route in ROUTES:
        said = SAID[docs.name(route)]
        assert list(said) == ["curl", "python", "node", "go"]
        path = re.sub(r"{(\w+)}", lambda found: found[1].upper(), docs.shown_path(route))
        for language in ("python", "node", "go"):
            assert f'"http://h{path}' in said[language], language
            assert ("BSOD_KEY" in said[language]) is route.needs_key


def test_every_go_program_sends_its_routes_method_and_body() -> None:
    for route in ROUTES:
        program = SAID[docs.name(route)]["go"]
        assert f'http.NewRequest("{route.method}", ' in program
        body = re.search(r"NewReader\(`(.*?)`\)", program, re.DOTALL)
        assert (body is not None) is (route.body in (BodyKind.JSON, BodyKind.EITHER))
        if body:
            assert json.loads(body[1]) == samples.BODIES.get(route.path, samples._LATER)
        assert ("multipart.NewWriter" in program) is (route.body is BodyKind.FORM)
        for field in samples.FORMS.get(route.path, ()) if route.body is BodyKind.FORM else ():
            name, value = field.split("=", 1)
            assert f'"{name}", "{value.removeprefix("@")}")' in program


def test_go_is_written_as_gofmt_writes(tmp_path: Path) -> None:
    gofmt = shutil.which("gofmt", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if gofmt is None:
        pytest.skip("only gofmt can say it, and Go is no part of what the suite installs")
    programs = {**{name: said["go"] for name, said in SAID.items()}, "quick": QUICK["go"]}
    for name, program in programs.items():
        (tmp_path / f"{name}.go").write_text(program + "\n")
    done = subprocess.run(
        [gofmt, "-l", str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_models_name_cannot_end_its_string() -> None:
    said = [code for _id, _name, code in recipes("http://h", 'a"model', "KEY")]
    assert all('a\\"model' in code for code in [*QUICK.values(), *said])
    for code in said:
        assert '"http://h/v1"' in code
        if "import {" not in code:
            compile(code, "recipe", "exec")

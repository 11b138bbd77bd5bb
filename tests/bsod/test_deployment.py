"""What an operator copies from us (compose file, image, proxy, README) agrees with the code.

No container engine runs here: the files are read as what they are, and held against the project.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from bsod import settings
from proxy.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([?-])([^}]*))?\}")
READ = re.compile(r'\b(?:env(?:_int|_float|_flag|_word|_list)?|_secret)\(\s*"([A-Z_]+)"')
OURS = ("gateway", "worker", "migrate")

pytestmark = pytest.mark.once


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
    return found


def settings_read() -> set[str]:
    """Every name that the settings take from the environment."""
    return set(READ.findall(text("bsod/settings.py")))


def test_the_compose_file_has_its_parts() -> None:
    services = compose()["services"]
    assert set(services) == {*OURS, "nginx", "postgres", "valkey"}
    for name, service in services.items():
        assert ("image" in service) or ("build" in service), name
        for other, needed in service.get("depends_on", {}).items():
            assert other in services, name
            if needed["condition"] == "service_healthy" and other not in OURS:
                assert services[other]["healthcheck"]["test"], other
    # Only the proxy is to be reached from outside.
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    volumes = [v for s in services.values() for v in s.get("volumes", [])]
    named = {v.split(":")[0] for v in volumes if not v.startswith(".")}
    assert named == set(compose()["volumes"])


def test_the_nodes_share_one_environment_that_the_settings_know() -> None:
    services = compose()["services"]
    shared = services["gateway"]["environment"]
    assert all(services[name]["environment"] == shared for name in OURS)
    assert set(shared) <= settings_read()


def test_every_variable_is_explained_in_the_example() -> None:
    found = VARIABLE.findall(text("docker-compose.yml"))
    example = set(re.findall(r"^([A-Z_]+)=", text("deploy/env.example"), re.M))
    assert {name for name, _, _ in found} <= example <= settings_read() | {"POSTGRES_PASSWORD"}
    assert {compose()["services"][name]["env_file"] for name in OURS} == {".env"}
    secret = {"SECRET_KEY", "VAULT_KEYS", "POSTGRES_PASSWORD"}
    assert {name for name, kind, _ in found if kind == "?"} == secret | {"SITE_URL"}
    given = re.findall(r"^([A-Z_]+)=(.*)$", text("deploy/env.example"), re.M)
    assert [name for name, value in given if name in secret and value] == []


def test_that_environment_makes_a_clean_production(tmp_path: Path) -> None:
    given = {
        "SITE_URL": "https://api.example.org",
        "SECRET_KEY": "a-k3y-of-th1s-test." * 4,
        "VAULT_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "POSTGRES_PASSWORD": "0123abcd",
    }

    def filled(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        return given.get(name) or (default if kind == "-" else "")

    environment = {
        name: VARIABLE.sub(filled, str(value))
        for name, value in compose()["services"]["migrate"]["environment"].items()
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"], cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_commands_that_are_run_exist() -> None:
    services = compose()["services"]
    said = " ".join(" ".join(services[name]["command"]) for name in OURS) + text("Dockerfile")
    assert set(re.findall(r"manage\.py (\w+)", said)) == {"check", "migrate", "worker"}
    assert set(re.findall(r"manage\.py (\w+)", said)) <= set(get_commands())
    for path in ("bsod/gunicorn.py", "bsod/launch.py", "bsod/asgi.py"):
        assert (ROOT / path).is_file()


def test_the_image_holds_the_whole_product() -> None:
    copied = set(re.findall(r"^COPY (?!--from)(\S+)", text("Dockerfile"), re.M))
    allowed = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    packages = {
        app.split(".")[0] for app in settings.INSTALLED_APPS if (ROOT / app.split(".")[0]).is_dir()
    }
    assert packages <= copied
    for lock in re.findall(r"requirements/[\w-]+\.txt", text("Dockerfile")):
        assert (ROOT / lock).is_file()


def test_the_proxy_buffers_what_comes_in_and_nothing_that_goes_out() -> None:
    lines = {line.partition("#")[0].strip() for line in text("deploy/nginx.conf").splitlines()}
    assert {
        "proxy_request_buffering on;",
        "proxy_buffering off;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_next_upstream off;",
    } <= lines
    largest = re.search(r"client_max_body_size (\d+)m;", text("deploy/nginx.conf"))
    assert largest
    assert max(route.body_limit for route in ROUTES) <= int(largest[1]) * 2**20
    mounted = " ".join(compose()["services"]["nginx"]["volumes"])
    assert "./deploy/nginx.conf:/etc/nginx/nginx.conf:ro" in mounted


# ---- README


def test_the_readme_explains_every_setting_and_no_other() -> None:
    told = text("README.md") + text("docs/operations.md")
    rows = {
        name
        for line in told.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z][A-Z_]{3,})`", line.split("|")[1])
    }
    assert settings_read() <= rows
    assert rows <= settings_read()


def test_the_readme_explains_every_command() -> None:
    mine = {
        name
        for name, app in get_commands().items()
        if isinstance(app, str) and (ROOT / app.partition(".")[0]).is_dir()
    }
    rows = set(re.findall(r"^\| `([a-z_]+)", text("README.md"), re.M))
    assert mine == rows & set(get_commands())


def test_every_make_target_that_is_told_exists() -> None:
    told = "".join(text(name) for name in ("README.md", "CONTRIBUTING.md", ".ci/run"))
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.M))
    commands = set(re.findall(r"(?:^ {4}|`|^step )make ([a-z-]+)", told, re.M))
    assert {"run", "test", "check", "bench"} <= commands <= targets


def test_every_link_leads_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "bench" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


# ---- what is installed


def test_nothing_of_a_package_runs_at_every_start_of_python() -> None:
    """A line of a `.pth` file runs before any code of ours: the way a stealer once came in."""
    folders = {Path(folder) for folder in sys.path if folder.endswith("site-packages")}
    found = {path.name for folder in folders for path in folder.glob("*.pth")}
    assert found <= {"distutils-precedence.pth"}  # setuptools, which venv brings before 3.12


@pytest.mark.parametrize(
    "wanted", sorted((ROOT / "requirements").glob("*.in")), ids=lambda path: path.name
)
def test_every_wish_is_locked(wanted: Path) -> None:
    lock = wanted.with_suffix(".txt").read_text()
    for line in wanted.read_text().splitlines():
        name = re.match(r"[A-Za-z][\w.-]*", line)
        if name:
            assert re.search(rf"^{re.escape(name.group().lower())}(\[|==)", lock, re.M), line
        exact = re.match(r"([\w.-]+)==(\S+)", line)
        if exact:
            assert f"{exact.group()} " in lock, "run requirements/compile.sh"

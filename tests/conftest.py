"""Fixtures of the whole suite. Server and database live for the session; people for a test."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test.utils import teardown_databases
from hypothesis import HealthCheck, settings

from tests.upstream import FaultServer

# How long an example takes is the machine's business.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "once: not about the database, so it runs beside SQLite only"
    )
    config.addinivalue_line("markers", "postgresql: beside SQLite another test says the same")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `once` make no use of the suite's database: a run beside SQLite says it all."""
    spared = "once" if os.environ.get("DATABASE_URL") else "postgresql"
    away = [item for item in items if item.get_closest_marker(spared)]
    config.hook.pytest_deselected(items=away)
    gone = set(away)
    items[:] = [item for item in items if item not in gone]


def pytest_runtestloop(session: pytest.Session) -> object:
    """Of several runs side by side (`tests.run`) each takes the next file of `once` tests that
    nobody has taken. What is shared out so ends everywhere at about the same time."""
    taken, options = os.environ.get("SUITE_TAKEN"), session.config.option
    if not taken or session.testsfailed or options.collectonly:
        return None  # pytest's own
    ahead = _taking(session.items, Path(taken))
    item = next(ahead, None)
    while item:
        following = next(ahead, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail or session.shouldstop:
            raise session.Failed(session.shouldfail or session.shouldstop)
        item = following
    return True


def _taking(items: list[pytest.Item], taken: Path) -> Iterator[pytest.Item]:
    shared = [item for item in items if item.get_closest_marker("once")]
    yield from (item for item in items if not item.get_closest_marker("once"))
    for path, of_file in itertools.groupby(shared, lambda item: item.path):
        with contextlib.suppress(FileExistsError):
            (taken / path.as_posix().replace("/", ":")).touch(exist_ok=False)
            yield from of_file


@pytest.fixture(scope="session", autouse=True)
def database(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """The test database, made by our migrations and committed to for real.

    pytest-django's own fixtures would roll back or empty the tables after a test; here other
    processes read and write them all the time.
    """
    from quotas.audit import audit
    from tests.template import set_up

    with django_db_blocker.unblock():
        made = set_up()
        yield
        drift = audit().drift
        connections.close_all()
        teardown_databases(made, verbosity=0)
        assert drift == [], "the ledger of the whole suite does not add up"


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Connections a test did not read to their end are closed with it, not by chance later."""
    yield
    from tests import kit

    while kit.leftovers:
        kit.leftovers.pop()()


@pytest.fixture(scope="session")
def site(database: None, pytestconfig: pytest.Config) -> Iterator[Any]:
    """A gateway for every test that does not break it: with two workers where it is about the
    database, which they share."""
    from tests import kit

    # A machine that runs the whole suite at once stands still for seconds now and then.
    patience = {"LEDGER_PATIENCE": "20"}
    running = kit.launch(1 if pytestconfig.option.markexpr == "once" else 2, **patience)
    yield running
    running.stop()


@pytest.fixture
def launch(database: None) -> Iterator[Any]:
    """Start gateways that a test may break; they are gone after it."""
    from tests import kit

    started: list[Any] = []

    def start(workers: int = 1, **env: str) -> Any:
        started.append(kit.launch(workers, **env))
        return started[-1]

    yield start
    for running in started:
        running.stop(9)


@pytest.fixture
def up() -> Iterator[FaultServer]:
    """A provider that fails on demand. What a test has put there leaves the pool with it: every
    worker reads the whole pool at each change."""
    with FaultServer() as server:
        yield server
        _forget(server.base_url)
        assert server.malformed == []


def _forget(base_url: str) -> None:
    from bsod.lib import clock
    from proxy.models import Provider

    Provider.objects.filter(base_url=base_url, deleted_at=None).update(deleted_at=clock.now())


@pytest.fixture
def alice(database: None) -> Any:
    """The owner of things."""
    from tests import kit

    return kit.person("alice")


@pytest.fixture
def bob(database: None) -> Any:
    """A stranger to alice's things."""
    from tests import kit

    return kit.person("bob")

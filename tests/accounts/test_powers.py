"""Somebody can always administer the site, also where two would take it from each other at once."""

import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from accounts.flows.close_account import LastAdmin, close_account
from accounts.flows.powers import Level, set_level
from accounts.models import Account
from tests import kit


@pytest.fixture
def alone() -> Iterator[list[Account]]:
    """Two superusers, and no other."""
    others = list(Account.objects.filter(is_superuser=True).values_list("pk", flat=True))
    two = [kit.person("root").account for _ in range(2)]
    Account.objects.filter(pk__in=others).update(is_superuser=False)
    yield two
    Account.objects.filter(pk__in=[one.pk for one in two]).update(is_superuser=False)
    Account.objects.filter(pk__in=others).update(is_superuser=True)


@pytest.mark.parametrize("how", ["dethrone", "close"])
def test_of_two_who_dethrone_each_other_at_once_one_stays(alone: list[Account], how: str) -> None:
    pks = [one.pk for one in alone]
    for _ in range(5 if how == "dethrone" else 1):
        Account.objects.filter(pk__in=pks).update(is_superuser=True, is_staff=True)
        both, refused = threading.Barrier(2), list[str]()

        def end(one: Account, by: Account, both: threading.Barrier, said: list[str]) -> None:
            both.wait()
            try:
                if how == "close":
                    close_account(one)
                else:
                    set_level(one, Level.USER, by=by, reason="x")
            except LastAdmin:
                said.append("refused")
            finally:
                connection.close()

        pairs = (alone, alone[::-1])
        threads = [threading.Thread(target=end, args=(*pair, both, refused)) for pair in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == ["refused"]
        assert Account.objects.filter(pk__in=pks, is_superuser=True).count() == 1

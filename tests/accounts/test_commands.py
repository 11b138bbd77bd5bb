"""`create_user` and `create_key` as scripts use them: the key is the last line, alone."""

import io

import pytest
from django.core.management import CommandError, call_command

from accounts.keys.models import ApiKey
from accounts.keys.tokens import parse
from accounts.models import Account
from accounts.service import create_account
from tests import kit
from tests.kit import manage, unique

pytestmark = pytest.mark.once


def test_a_user_and_a_key_are_two_commands() -> None:
    name = unique("eve")
    made = manage("create_user", name, "--plan", "pro")
    assert (made.returncode, made.stderr) == (0, "")
    account = Account.objects.get(username=name)
    assert (account.plan_id, account.is_staff, account.has_usable_password()) == (
        "pro",
        False,
        False,
    )

    keyed = manage("create_key", name, "--name", "two\nlines")

    assert (keyed.returncode, keyed.stderr) == (0, "")
    last = keyed.stdout.rstrip("\n").split("\n")[-1]
    token = parse(last)
    assert token is not None
    row = ApiKey.objects.get(public_id=token.public_id)
    assert (row.account_id, row.name, row.unlimited, row.operator) == (
        account.pk,
        "two lines",
        False,
        False,
    )
    assert keyed.stdout.count(last) == 1


def test_an_admin_gets_a_password_once_and_may_have_operator_keys() -> None:
    name = unique("root")
    output = io.StringIO()
    call_command("create_user", name, "--admin", stdout=output)
    password = output.getvalue().strip().split()[-1]
    account = Account.objects.get(username=name)
    assert account.is_staff
    assert account.is_superuser
    assert account.check_password(password)

    output = io.StringIO()
    call_command("create_key", name, "--operator", "--unlimited", stdout=output)

    token = parse(output.getvalue().strip().split("\n")[-1])
    assert token is not None
    row = ApiKey.objects.get(public_id=token.public_id)
    assert (row.operator, row.unlimited) == (True, True)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("create_key", "nobody-here"), "There is no user 'nobody-here'"),
        (("create_key", "@bob", "--operator"), "staff only"),
        (("create_user", "@bob"), "already exists"),
        (("create_user", "fresh one"), "valid username"),
        (("create_user", "x" * 151), "at most 150"),
        (("create_user", "@fresh", "--plan", "gold"), "There is no plan 'gold'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(command: tuple[str, ...], complaint: str) -> None:
    bob = kit.person("bob").account.username
    words = [word.replace("@bob", bob).replace("@fresh", unique("fresh")) for word in command]

    output = io.StringIO()
    with pytest.raises(CommandError, match=complaint):
        call_command(*words, stdout=output)
    assert output.getvalue() == ""


def test_a_refusal_is_one_line_and_an_exit_code() -> None:
    failed = manage("create_key", "nobody-here")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    assert "There is no user" in failed.stderr


def test_a_weak_password_makes_no_account() -> None:
    name = unique("weak")
    with pytest.raises(Exception, match="too common"):
        create_account(name, password="password")
    assert not Account.objects.filter(username=name).exists()

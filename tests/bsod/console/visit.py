"""Pages in this very process, so that a test can count the statements they ask."""

from django.http import HttpResponse
from django.test import Client

from accounts.models import Account
from tests.kit import Person


class Visitor:
    """Django's own client, signed in; it wants pages."""

    def __init__(self, person: Person) -> None:
        self.client = Client(headers={"Accept": "text/html", "Host": "127.0.0.1"})
        self.client.force_login(Account.objects.get(pk=person.account.pk))

    def get(self, path: str) -> HttpResponse:
        return self.client.get(path)

    def text(self, path: str) -> str:
        return str(self.get(path).content.decode())


def visitor(person: Person) -> Visitor:
    return Visitor(person)

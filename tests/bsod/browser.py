"""An operator's browser in a test's hands: cookies, forms with their tokens, bulk actions."""

import html
import re
from typing import Any, Self

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter

from accounts.models import Account
from tests.kit import Site, arm, session_of

PASSWORD = "correct horse battery staple"
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class Browser:
    """A client with cookies, at an address of its own: sign-ins are counted by address."""

    def __init__(self, site: Site, address: str) -> None:
        self.url = site.url
        self.session = requests.Session()
        self.session.trust_env = False
        adapter = HTTPAdapter()
        adapter.init_poolmanager(4, 4, source_address=(address, 0))
        self.session.mount("http://", adapter)

    def get(self, path: str) -> requests.Response:
        return self.session.get(self.url + path, timeout=20, allow_redirects=False)

    def post(self, path: str, found_on: str = "", **fields: Any) -> requests.Response:
        """Send a form as the page it is found on has it: with its CSRF token."""
        page = found_on or path
        token = TOKEN.search(self.get(page).text)
        fields["csrfmiddlewaretoken"] = token.group(1) if token else ""
        return self.session.post(
            self.url + path, data=fields, timeout=20, allow_redirects=False,
            headers={"Referer": self.url + page},
        )  # fmt: skip

    def sit(self, account: Account, *, again: bool = False, factor: bool = False) -> Self:
        """Has a session; `again`: the password was asked for a moment ago, `factor`: so was the
        second factor."""
        name = settings.SESSION_COOKIE_NAME
        value = session_of(account, again=again, factor=factor)
        self.session.cookies.set(name, value, domain="127.0.0.1", path="/")
        return self

    def backstage(self, account: Account) -> Self:
        """Has signed in with a second factor: the admin is open to whoever is staff."""
        arm(account)
        return self.sit(account, factor=True)

    def act(self, path: str, action: str, *rows: Any) -> requests.Response:
        """Run a list's bulk action, for a reason."""
        chosen = [str(row.pk) for row in rows]
        more = {"reason": "because", **_confirmed(action)}
        return self.post(path, action=action, _selected_action=chosen, **more)


def _confirmed(action: str) -> dict[str, str]:
    return {"post": "yes"} if action == "delete_selected" else {}


def errors(page: requests.Response) -> str:
    found = re.findall(r'<ul class="errorlist[^>]*>(.*?)</ul>', page.text, re.S)
    return html.unescape(" ".join(found))


addresses = (f"127.0.1.{number}" for number in range(1, 255))

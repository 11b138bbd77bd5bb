"""An operator's browser in a test's hands: cookies, forms with their tokens, bulk actions."""

import html
import re
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from tests.kit import Site

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

    def sign_in(self, name: str, password: str = PASSWORD) -> requests.Response:
        return self.post("/admin/login/", username=name, password=password)

    def act(self, path: str, action: str, *rows: Any) -> requests.Response:
        """Run a list's bulk action."""
        chosen = [str(row.pk) for row in rows]
        return self.post(path, action=action, _selected_action=chosen, **_confirmed(action))


def _confirmed(action: str) -> dict[str, str]:
    return {"post": "yes"} if action == "delete_selected" else {}


def errors(page: requests.Response) -> str:
    found = re.findall(r'<ul class="errorlist[^>]*>(.*?)</ul>', page.text, re.S)
    return html.unescape(" ".join(found))


addresses = (f"127.0.1.{number}" for number in range(1, 255))

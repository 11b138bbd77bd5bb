"""Two people at one provider: what isolation is tested with."""

import json
from typing import Any

from bsod.lib.terms import ObjectKind
from proxy.route import NAMES, Route
from tests import kit
from tests.kit import Person, Site, Supply
from tests.proxy.gateway.world import Honest, held
from tests.rawclient import JSON_TYPE, Reply, once
from tests.upstream import FaultServer

FILE = ObjectKind.FILE


class Shop:
    """One provider with two keys; alice keeps her things on the second, bob is a stranger."""

    def __init__(self, site: Site, up: FaultServer) -> None:
        self.site, self.up = site, up
        self.supplied: Supply = kit.supply(up, keys=2, catch_all=True)
        self.first, self.second = self.supplied.key_row(0), self.supplied.key_row(1)
        self.alice = kit.person("alice", unlimited=True)
        self.bob = kit.person("bob", unlimited=True)
        self.provider = up.default = Honest(self.supplied)

    @property
    def secret(self) -> str:
        """The provider key that holds alice's things."""
        return self.supplied.keys[1]

    def hers(self, kind: ObjectKind = FILE, **data: Any) -> str:
        return held(self.alice, self.second, kind, **data)

    def named(self, route: Route) -> dict[str, str]:
        """Ids of a path, each of an object of hers."""
        return {
            name: self.hers(NAMES[name]) if name in NAMES else kit.unique(name)
            for name in route.variables
        }

    def call(self, who: Person, method: str, path: str, body: Any = None) -> Reply:
        auth = list(who.auth.items())
        if body is None:
            return once(self.site, method, path, auth)
        return once(self.site, method, path, [*auth, JSON_TYPE], json.dumps(body).encode())

    def nothing_said(self) -> None:
        """No provider has been asked anything since the last look."""
        assert self.up.seen == []


def refused(reply: Reply, what: object) -> None:
    assert (reply.status, reply.error["code"]) == (404, "not_found"), f"{what}: {reply.body!r}"

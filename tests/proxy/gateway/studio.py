"""What the tests of media's money are made of: a studio, and people who can just pay for it."""

import json
from datetime import timedelta
from typing import Any

from accounts.models import Plan
from bsod.lib import clock
from bsod.lib.terms import Modality
from quotas.models import Balance, Entry
from tests import kit
from tests.kit import Person, Site, Supply
from tests.proxy.gateway.world import Honest, request, row
from tests.rawclient import Reply
from tests.upstream import FaultServer

PLAN = 15_000_000  # credits of a period
PRICE = 4_000  # of an image or a recording


class Studio(Honest):
    """An honest provider that makes as many images as it is asked for."""

    def object(self, route: Any, params: dict[str, str]) -> dict[str, Any]:
        value = super().object(route, params)
        if "images" in route.path:
            value["data"] = [{"b64_json": "AAAA"}] * 3
        return value


def studio(up: FaultServer, modality: Modality | None = None, model: str = "medium") -> Supply:
    traits: dict[str, Any] = {"modality": modality} if modality else {}
    price = 1_200_000 if modality is Modality.VIDEO else PRICE
    made = kit.supply(up, model=kit.unique(model), credits_per_call=price, **traits)
    up.default = Studio(made)
    return made


def capped(bucket: str, units: int) -> Person:
    plan = Plan.objects.create(slug=kit.unique("plan"), caps={bucket: units})
    return kit.person("capped", plan=plan.slug)


def payer(credits: int | None = None) -> Person:
    """One who pays credits, with so many of them left."""
    who = kit.person("payer", plan="pro")
    if credits is not None:
        now = clock.now()
        Balance.objects.create(
            account=who.account, owner="user", bucket="credits", period=clock.day_of(now),
            granted=credits, expires_at=now + timedelta(days=1),
        )  # fmt: skip
    return who


def send(site: Site, who: Person, path: str, model: str = "", **fields: Any) -> Reply:
    route = row("POST", path)
    return request(route, {}, model, **fields).send(site, who)


def yout(reply: Reply) -> Any:
    return json.loads(reply.body).get("yout")


def only(who: Person) -> Entry:
    (entry,) = who.closed()
    return entry

"""`POST /admin/audit-ledger/`: have the worker add the ledger up now instead of at its hour."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from accounts.audit import Verb, record
from bsod.backstage.front import MAY_AUDIT
from bsod.backstage.routes import Act, Asked, actor, acts
from bsod.lib import clock
from quotas import audit


def _run(request: HttpRequest, asked: Asked) -> Mapping[str, Any]:
    audit.ask(clock.now())
    record(actor(request), Verb.LEDGER_AUDIT)
    return {"message": "The worker adds the ledger up within seconds: look again."}


audit_ledger = acts("admin:index", {"run": Act(MAY_AUDIT, (), _run)}, only="run")

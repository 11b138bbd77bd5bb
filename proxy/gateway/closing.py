"""What a call costs in the end, decided from how it ended (SPEC §3). Pure.

Complete: the provider's usage, else the estimate. Cut short after something was delivered, by
whomever: usage if it was seen, else prompt and delivered output. Nothing delivered: nothing.
Never free when something was delivered, never the whole reservation when it was not.
"""

from bsod.lib.terms import EndReason, UsageSource
from proxy.gateway.journey import Charge, Outcome, Ticket

FREE = Charge(None, None)


def charge(ticket: Ticket, outcome: Outcome) -> Charge:
    """Tokens to charge for an ended call."""
    reader = outcome.reader
    if reader is None:
        if outcome.end is EndReason.CLIENT_GONE and not ticket.call.stream:
            # Cancelled by us while the provider was at work on it.
            return Charge(ticket.call.prompt, 0, 0, UsageSource.ESTIMATED, ticket.tariff.fast)
        return FREE
    fast = ticket.tariff.fast and reader.tier in (None, "priority", "fast")
    usage = reader.usage
    if usage:
        return Charge(usage.prompt, usage.completion, usage.cached, UsageSource.UPSTREAM, fast)
    if outcome.end is EndReason.COMPLETED or reader.produced:
        return Charge(ticket.call.prompt, reader.produced, 0, UsageSource.ESTIMATED, fast)
    return FREE


def amount(ticket: Ticket, due: Charge) -> int:
    """Units for a charge, by the price the call was admitted at."""
    if due.prompt is None or due.completion is None:
        return 0
    tariff = ticket.tariff if due.fast == ticket.tariff.fast else ticket.tariff.standard()
    return tariff.cost(due.prompt, due.completion)

"""What a call costs in the end, decided from how it ended (SPEC §3). Pure.

Complete: the provider's usage, else the estimate. Cut short after something was delivered, by
whomever: usage if it was seen, else prompt and delivered output. Nothing delivered: nothing.
Never free when something was delivered, never the whole reservation when it was not.
"""

from bsod.lib.terms import EndReason, UsageSource
from proxy import jobs
from proxy.gateway.journey import Charge, Outcome, Ticket

FREE = Charge(None, None)


def charge(ticket: Ticket, outcome: Outcome) -> Charge:
    """Tokens to charge for an ended call."""
    reader, tariff = outcome.reader, ticket.tariff
    if tariff is None:
        return FREE
    if tariff.each is not None:
        return _whole(ticket, outcome)
    if reader is None:
        if outcome.end is EndReason.CLIENT_GONE and not ticket.call.stream:
            # Cancelled by us while the provider was at work on it.
            return Charge(ticket.call.prompt, 0, 0, UsageSource.ESTIMATED, tariff.fast)
        return FREE
    fast = tariff.fast and reader.tier in (None, "priority", "fast")
    usage = reader.usage
    if usage:
        return Charge(usage.prompt, usage.completion, usage.cached, UsageSource.UPSTREAM, fast)
    if outcome.end is EndReason.COMPLETED or reader.produced:
        return Charge(ticket.call.prompt, reader.produced, 0, UsageSource.ESTIMATED, fast)
    return FREE


def _whole(ticket: Ticket, outcome: Outcome) -> Charge:
    """A call with one price: due when it succeeded, and when its client left it at work."""
    state = outcome.reader.state if outcome.reader else None
    end = jobs.ending(ticket.call.job, state) if ticket.call.job and state else None
    left = outcome.end is EndReason.CLIENT_GONE and (
        outcome.reader is not None or not ticket.call.stream
    )
    if (outcome.end is EndReason.COMPLETED or left) and (end is None or end.due):
        return Charge(0, 0, 0, UsageSource.UPSTREAM)
    return FREE


def amount(ticket: Ticket, due: Charge) -> int:
    """Units for a charge, by the price the call was admitted at."""
    if due.prompt is None or due.completion is None or ticket.tariff is None:
        return 0
    tariff = ticket.tariff if due.fast == ticket.tariff.fast else ticket.tariff.standard()
    return tariff.cost(due.prompt, due.completion)

"""What a call costs in the end, decided from how it ended (SPEC §3). Pure.

Complete: the provider's usage, else the estimate. Cut short after something was delivered, by
whomever: usage if it was seen, else prompt and delivered output. Nothing delivered: nothing.
Never free when something was delivered, never the whole reservation when it was not.

What has a price for each piece is paid by the piece: as many as there were, and were asked for.
docs/metering.md has all this as a table.
"""

from bsod.lib.terms import EndReason, UsageSource
from proxy import jobs
from proxy.gateway.journey import Call, Charge, Outcome, Ticket
from proxy.providers.base import StreamReader, WholeReader
from proxy.route import ReplyKind

FREE = Charge(None, None)


def charge(ticket: Ticket, outcome: Outcome) -> Charge:
    """Tokens to charge for an ended call."""
    reader, tariff = outcome.reader, ticket.tariff
    if tariff is None:
        return FREE
    if tariff.each is not None:
        return _by_the_piece(ticket.call, outcome, tariff.units)
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


def _by_the_piece(call: Call, outcome: Outcome, asked: int) -> Charge:
    """Images, recordings, films and files: so many of those that were asked for."""
    units = _units(call, outcome, asked)
    if not units:
        return FREE
    usage = outcome.reader.usage if outcome.reader else None
    source = UsageSource.UPSTREAM
    if outcome.end is not EndReason.COMPLETED:
        source = UsageSource.ESTIMATED
    prompt, completion, cached = (
        (usage.prompt, usage.completion, usage.cached) if usage else (0, 0, 0)
    )
    return Charge(prompt, completion, cached, source, units=min(units, asked))


def _units(call: Call, outcome: Outcome, asked: int) -> int:
    reader = outcome.reader
    if outcome.end is EndReason.COMPLETED:
        return _complete(call, reader, asked)
    gone = outcome.end is EndReason.CLIENT_GONE
    if reader is None or reader.units is None:
        # Cancelled by us while the provider was at work on it; what comes as a stream of events or
        # bytes has not begun.
        whole = not call.stream and call.route.reply is not ReplyKind.BYTES
        return asked if gone and whole else 0
    # A client who leaves with the preview of an image has got that image.
    return reader.shown + (1 if gone and reader.preview else 0)


def _complete(call: Call, reader: StreamReader | WholeReader | None, asked: int) -> int:
    """Units of an answer that came to its end."""
    if call.job:
        # What has been begun is charged when it ends; what nobody can ask for never does.
        end = jobs.ending(call.job, reader.state) if reader else None
        return asked if end and end.due else 0
    return asked if reader is None or reader.units is None else reader.units


def amount(ticket: Ticket, due: Charge) -> int:
    """Units for a charge, by the price the call was admitted at."""
    if due.prompt is None or due.completion is None or ticket.tariff is None:
        return 0
    if ticket.tariff.each is not None:
        return ticket.tariff.part(due.units)
    tariff = ticket.tariff if due.fast == ticket.tariff.fast else ticket.tariff.standard()
    return tariff.cost(due.prompt, due.completion)

"""What a call costs, and what it must reserve: integers in, integers out (SPEC §3).

A text charge is max(minimum, ⌈(in × p + out × c) × fast / per⌉) with one rounding. For a bucket
plan p = c = per = 1 and there is no minimum: tokens themselves. For a credit plan p and c are
the model's credits for 1000 tokens and the minimum is 10. Fast mode is 5/2.
"""

from dataclasses import dataclass, replace

import orjson

from bsod.lib.terms import Bucket

MINIMUM_CREDITS = 10
UNASKED_OUTPUT = 1024  # tokens reserved for each choice when the caller states no limit


@dataclass(frozen=True, slots=True)
class Tariff:
    """How one call is charged: kept with its entry, so that a later price changes nothing."""

    bucket: Bucket
    input: int = 1
    output: int = 1
    per: int = 1
    minimum: int = 0
    fast: bool = False
    each: int | None = None
    """Units of the whole call, whatever its tokens: media and uploads."""
    units: int = 1
    """How many images `each` is the price of."""

    def cost(self, prompt: int, output: int) -> int:
        """Units for that many tokens."""
        if self.each is not None:
            return self.each
        times = 5 if self.fast else 2
        total = (prompt * self.input + output * self.output) * times
        return max(self.minimum, -(-total // (2 * self.per)))

    def part(self, units: int | None) -> int:
        """Of a price for the whole call, what so many of its units cost; None: all of them."""
        assert self.each is not None, "tokens are no pieces"
        return self.each if units is None else -(-self.each * min(units, self.units) // self.units)

    def affordable(self, prompt: int, free: int) -> int | None:
        """Output tokens that `free` units pay beside the prompt; negative: not even that.

        None: output costs nothing, so any number.
        """
        if free < self.minimum:
            return -1
        times = 5 if self.fast else 2
        left = free * 2 * self.per // times - prompt * self.input
        if not self.output:
            return None if left >= 0 else -1
        return left // self.output

    def standard(self) -> "Tariff":
        """The same call outside fast mode: the answer came from another tier."""
        return replace(self, fast=False)


def text_tariff(
    *, pro: bool, credits: bool, price_in: int, price_out: int, fast: bool = False
) -> Tariff:
    """The tariff of a text call for one account's way of paying."""
    if credits:
        return Tariff(Bucket.CREDITS, price_in, price_out, 1000, MINIMUM_CREDITS, fast)
    return Tariff(Bucket.TEXT_PRO if pro else Bucket.TEXT_BASE, fast=fast)


FILE_CREDITS = 10  # what a stored file costs who pays credits
_FILM_SECONDS = 5  # a film's `credits_per_call` is the price of so many seconds


def media_tariff(
    bucket: Bucket, *, credits: bool, per_call: int, units: int = 1, seconds: int | None = None
) -> Tariff:
    """The tariff of `units` images, recordings, films or files; a film's price is by the second.

    Where nobody has set a price it is the least that a call of text costs, never nothing.
    """
    if not credits:
        return Tariff(bucket, each=units, units=units)
    price = FILE_CREDITS if bucket is Bucket.FILE else per_call
    if seconds is not None:
        price = -(-price * seconds // _FILM_SECONDS)
    return Tariff(Bucket.CREDITS, each=(price or MINIMUM_CREDITS) * units, units=units)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is drawn before the call, and the output limit to forward (None: add nothing)."""

    amount: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class TooLittle:
    """The least such a call needs is more than what is free."""

    needed: int


def reserve(
    tariff: Tariff,
    *,
    prompt: int,
    limit: int | None,
    choices: int,
    free: int | None,
    model_limit: int | None,
) -> Reservation | TooLittle:
    """Decide the reservation of a text call.

    `limit` is the caller's own output limit for a choice, `free` what he could draw (None: no
    limit), `model_limit` the most tokens the model gives (None: unknown). All in tokens but
    `free`, in the bucket's units.
    """
    if limit is not None or tariff.each is not None:
        amount = tariff.cost(prompt, (limit or 0) * choices)
        enough = free is None or amount <= free
        return Reservation(amount, limit) if enough else TooLittle(amount)
    asked = UNASKED_OUTPUT * choices
    if free is None:
        return Reservation(tariff.cost(prompt, asked), None)
    left = tariff.affordable(prompt, free)
    if left is not None and left < choices:
        return TooLittle(tariff.cost(prompt, choices))
    amount = tariff.cost(prompt, asked if left is None else min(asked, left))
    most = model_limit if left is None else left // choices
    if model_limit is not None and (most is None or most >= model_limit):
        return Reservation(amount, None)
    return Reservation(amount, most)


_KEPT = ("input", "output", "per", "minimum", "fast", "each")  # of a tariff, with its entry


def tariff_from(bucket: Bucket, price: str) -> Tariff:
    """The tariff an entry was opened at, from the price snapshot it keeps."""
    kept = orjson.loads(price)
    return Tariff(bucket, **{name: kept[name] for name in _KEPT if name in kept})

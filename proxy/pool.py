"""The key pool in memory: which key serves a call, and which are left alone.

A snapshot of the database's rows, read anew whenever `PoolState.generation` has grown (every
batch of the ledger looks). Leases are counted here; rests are decided in `rests.py`. Waiting is
measured by the monotonic clock, so that a clock set back cannot keep a key asleep.
A donated key serves its donor's models, keeps to his cap, and keeps nothing of anybody's.
What a process's own attempts show holds before the database has heard of it: `hearsay.py`.
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from django.db.models import F

from bsod.lib.terms import RestReason, Service
from proxy.catalogue import ModelInfo, OfferInfo, Traits
from proxy.hearsay import Doubt, Hearsay, Place, back_at
from proxy.hearsay import Rested as Rested
from proxy.models import PoolState
from proxy.providers.bridging.ways import Way, way
from proxy.snapshot import NOTHING, WHOLE, Readings
from proxy.snapshot import PoolKey as PoolKey
from proxy.snapshot import Snapshot as Snapshot
from proxy.snapshot import load as load
from proxy.snapshot import traits as traits
from proxy.snapshot import vault as vault

_REMEMBERED = 10_000  # users whose last key is remembered, for their prompt caches
_NEAR = 2  # open calls by which that key may be busier than the idlest
_RECENT = 4  # keys remembered of each: his models may live at different providers
_LOCKED = Rested(None, "locked")
_CAPPED = "capped"


@dataclass(frozen=True, slots=True)
class Lease:
    """A key held for one attempt."""

    key: PoolKey
    offer: OfferInfo
    native: bool = True
    """The model answers what is asked by itself; False: in other words."""


@dataclass(frozen=True, slots=True)
class NoKey:
    """Nobody can serve just now. `wait` is the earliest return, in seconds, where it is known."""

    wait: float | None
    limited: bool
    """Every key waits for the provider's own rate limit."""
    exists: bool
    """There is at least one key that could serve the model at another time."""
    undecided: bool = False
    """There are keys, but a call is just finding out whether they are good: `news` will tell."""
    locked: str = ""
    """What an admin says who has locked every provider that could."""
    donated: bool = False
    """There are keys awake, but they are donors', where nothing may be stored."""


class Pool:
    def __init__(self, readings: Readings | None = None) -> None:
        """`readings`: shared with others of this process."""
        self._readings = readings or Readings()
        self.snapshot = NOTHING
        self._open: Counter[int] = Counter()
        self._recent: OrderedDict[int, list[int]] = OrderedDict()
        self._spent: dict[tuple[int, int | None], Rested] = {}
        """Keys whose cap of the day has been found reached, by (key, cap): another cap is news."""
        self.hearsay = Hearsay()

    def refresh(self, generation: int) -> None:
        """Read the pool again if it has changed. Runs on the ledger's thread."""
        if generation != self.snapshot.generation:
            self.snapshot = self._readings.at(generation)

    def lease(
        self,
        model: ModelInfo,
        account: int,
        tried: Collection[int],
        now: float,
        *,
        service: Service = Service.CHAT,
        pinned: int | None = None,
        homes: Mapping[int, int] | None = None,
        shunned: Collection[int] = (),
        patient: bool = False,
        stored: bool = False,
    ) -> Lease | NoKey:
        """The key for the next attempt: of those that serve the model the one the account used
        last, while that is nearly the idlest.

        `pinned`: that key or none. `homes`: the account's own key at a provider comes first.
        `shunned`: providers that come last. `patient`: whoever asks may wait for `news`.
        `stored`: the call leaves something on the account.
        """
        candidates = list(self._candidates(model, service, pinned, stored))
        live = [
            lease
            for lease in candidates
            if lease.key.id not in tried and not self._resting(lease, model.name, now)
        ]
        if not live:
            none = self._none(candidates, model.name, now)
            stateful = stored or pinned is not None
            if stateful and self._only_donated(model, service, now):
                return replace(none, donated=True)
            return none
        live = [lease for lease in live if lease.key.provider not in shunned] or live
        live = [lease for lease in live if lease.native] or live
        if tried:
            # Whoever has met one bad key goes where there is an answer: he has three tries in all.
            answer = [lease for lease in live if self.hearsay.answers(lease.key.id)]
            if not answer and patient and any(self._open[lease.key.id] for lease in live):
                return NoKey(None, False, True, undecided=True)
            live = answer or live
        free = self._free(live, now, patient=patient)
        if not free:
            return NoKey(None, False, True, undecided=True)
        idlest = min(free, key=lambda lease: self._open[lease.key.id])
        recent = self._recent.get(account, [])
        chosen = next((x for key in recent for x in free if x.key.id == key), idlest)
        if self._open[chosen.key.id] > self._open[idlest.key.id] + _NEAR:
            chosen = idlest
        if homes:
            chosen = next((x for x in live if homes.get(x.key.provider) == x.key.id), chosen)
        self._open[chosen.key.id] += 1
        self.hearsay.tries(chosen.key.id, now)
        self._remember(account, chosen.key.id, recent)
        return chosen

    def _free(self, live: list[Lease], now: float, *, patient: bool) -> list[Lease]:
        """The live keys that take another call just now. None, if `patient`: `news` will tell."""
        if len(live) == 1:
            return live
        doubts = self.hearsay.doubts
        known, trying = [], []
        for lease in live:
            doubt = doubts(lease.key.id, now) if self._open[lease.key.id] else None
            if doubt is None:
                known.append(lease)
            elif doubt is Doubt.UNKNOWN:
                trying.append(lease)
        if not patient:
            return known + trying or live
        # Calls gather on keys that are known only as long as those on trial would hardly be idler.
        least = min((self._open[lease.key.id] for lease in trying), default=None)
        if known and least is not None:
            idlest = min(self._open[lease.key.id] for lease in known)
            return known if idlest <= least + _NEAR else []
        return known

    def _remember(self, account: int, key: int, recent: list[int]) -> None:
        self._recent[account] = [key, *(other for other in recent if other != key)][:_RECENT]
        self._recent.move_to_end(account)
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def release(self, lease: Lease) -> None:
        self._open[lease.key.id] -= 1
        if not self._open[lease.key.id]:
            del self._open[lease.key.id]
        self.hearsay.wake()

    def spend(self, key: PoolKey, seconds: float, now: float) -> None:
        """The key's cap is reached: it is left alone until the day ends, so many seconds."""
        kept = {place: rest for place, rest in self._spent.items() if rest.holds(now)}
        self._spent = {**kept, (key.id, key.cap): Rested(now + seconds, _CAPPED)}

    # ---- looks

    def available(self, model: ModelInfo, now: float, *, stored: bool = False) -> bool:
        candidates = self._candidates(model, stored=stored)
        return any(not self._resting(x, model.name, now) for x in candidates)

    def outlook(
        self,
        model: ModelInfo,
        now: float,
        *,
        service: Service | None = None,
        pinned: int | None = None,
        stored: bool = False,
    ) -> NoKey:
        """When the model can be served again, as if nobody could just now; `wait` is 0 when
        somebody can."""
        candidates = self._candidates(model, service, pinned, stored)
        return self._none(list(candidates), model.name, now)

    def key(self, id_: int | None) -> PoolKey | None:
        """A key by its id, whether it rests or not."""
        keys = (key for every in self.snapshot.keys.values() for key in every)
        return next((key for key in keys if key.id == id_), None)

    def awake(self, provider: int, now: float, *, stored: bool = False) -> bool:
        """Whether a provider has a key that does not rest, for a call of no model."""
        model = ModelInfo("", Traits(), (OfferInfo(provider, ""),))
        return self.available(model, now, stored=stored)

    def oldest(self, providers: Iterable[int], now: float) -> int | None:
        """The oldest key of these providers that does not rest, else the oldest; none of a donor,
        whose account is nobody's to look at."""
        every = (key for provider in providers for key in self.snapshot.keys.get(provider, ()))
        keys = [key for key in every if key.keeps]
        awake = [key for key in keys if not self._resting(Lease(key, OfferInfo(0, "")), "", now)]
        return next((key.id for key in (*awake, *keys)), None)

    def _candidates(
        self,
        model: ModelInfo,
        service: Service | None = None,
        pinned: int | None = None,
        stored: bool = False,
    ) -> Iterable[Lease]:
        stateful = stored or pinned is not None
        for offer in model.offers:
            keys = self.snapshot.keys.get(offer.provider, ())
            # All keys of a provider have one adapter.
            how = way(keys[0].adapter, service, model.traits.speaks) if service and keys else None
            if how is Way.NONE:
                continue
            for key in keys:
                if pinned not in (None, key.id):
                    continue
                if not key.donated or (key.takes(model.name) and (key.trusted or not stateful)):
                    yield Lease(key, offer, how is not Way.BRIDGED)

    def _only_donated(self, model: ModelInfo, service: Service | None, now: float) -> bool:
        """Whether somebody would serve it, were nothing of it to be kept."""
        every = self._candidates(model, service)
        return any(not self._resting(x, model.name, now) for x in every if not x.key.keeps)

    def _resting(self, lease: Lease, model: str, now: float) -> list[Rested]:
        """Everything that keeps a key from this model now."""
        rests, heard, key = self.snapshot.rests, self.hearsay.rests, lease.key
        if key.provider in self.snapshot.locks:
            return [_LOCKED]
        spent = self._spent.get((key.id, key.cap)) if key.cap is not None else None
        if spent and spent.holds(now):
            return [spent]
        if not rests and not heard:
            return []
        places: tuple[Place, ...] = (
            (key.provider, None, ""),
            (None, key.id, ""),
            (None, key.id, model),
        )
        found = [known.get(place) for known in (rests, heard) for place in places]
        return [rested for rested in found if rested and rested.holds(now)]

    def _none(self, candidates: list[Lease], model: str, now: float) -> NoKey:
        locks = self.snapshot.locks
        unlocked = [lease for lease in candidates if lease.key.provider not in locks]
        if candidates and not unlocked:
            return NoKey(None, False, True, locked=locks[candidates[0].key.provider])
        candidates = unlocked
        every = [self._resting(lease, model, now) for lease in candidates]
        returns = [end for rests in every if (end := back_at(rests, now)) is not None]
        wait = max(0.0, min(returns) - now) if returns else None
        limited = bool(candidates) and all(
            rests and all(rest.reason == RestReason.RATE_LIMIT for rest in rests) for rests in every
        )
        return NoKey(wait, limited, bool(candidates))


def retry_after(wait: float | None, default: int = 30) -> int:
    """Whole seconds to wait, at least one."""
    return default if wait is None else max(1, ceil(wait))


def bump() -> None:
    """Tell every process to read the pool again. Call it in the transaction of the change."""
    PoolState.objects.filter(id=1).update(generation=F("generation") + WHOLE)


def bump_rests() -> None:
    """The same where nothing but rests has changed, which is read in one look."""
    PoolState.objects.filter(id=1).update(generation=F("generation") + 1)

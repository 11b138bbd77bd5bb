"""Where a call goes and what it is priced as: its objects, its model, its tariff.

Objects come first: they live on one key, and whoever names somebody else's gets a 404 that tells
him nothing. Then the model: by name, by what the objects say of themselves, or a guess of a
provider that takes any. Values in, values out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from accounts.keys.identity import Identity
from bsod.lib import clock
from bsod.lib.terms import Bucket, Modality, ObjectKind, Shape
from proxy.catalogue import Ambiguous, Catalogue, ModelInfo, OfferInfo, Traits, media_bucket
from proxy.errors import ApiError, Code, invalid
from proxy.fields import MOST_EPOCHS, MOST_SECONDS
from proxy.gateway.call import model_grammar
from proxy.gateway.crossing import reachable
from proxy.gateway.journey import Call
from proxy.gateway.reading import number
from proxy.objects import Binding, Gone, Mismatch, Missing, Owned, Wanted, choose
from proxy.pool import Pool
from proxy.providers.bridging.ways import CREATES
from quotas.pricing import Tariff, media_tariff, text_tariff

Known = Mapping[str, Sequence[Owned]]
"""The rows of every id a batch names."""
_EPOCHS = 3  # what "auto" epochs come to


@dataclass(frozen=True, slots=True)
class Aim:
    """A call, completed by what its objects know, and its target."""

    call: Call
    model: ModelInfo
    binding: Binding | None = None
    pinned: int | None = None


def bind(call: Call, identity: Identity, owned: Known) -> Binding | None:
    """The key that holds everything the call names. ApiError 404, 409, 410."""
    if not call.wanted:
        return None
    wanted = [item for item in call.wanted if not _below(call, item) or item.id in owned]
    chosen = choose(owned, identity.owner.id, wanted, identity.operator)
    if isinstance(chosen, Missing):
        raise ApiError(
            Code.NOT_FOUND, f"There is no such object as '{chosen.id}'.", param=chosen.param
        )
    if isinstance(chosen, Mismatch):
        raise ApiError(
            Code.OBJECT_KEY_MISMATCH,
            "The objects this request names live on different provider accounts. Create them "
            "anew in one go, and they will share one.",
            param=chosen.param,
        )
    if isinstance(chosen, Gone):
        raise ApiError(
            Code.UPSTREAM_GONE,
            f"The provider account that held '{chosen.id}' is no longer here. Create it anew.",
            param=chosen.param,
        )
    return chosen


def _below(call: Call, item: Wanted) -> bool:
    """Whether it is named in the path below something that is the caller's. Nobody need have
    seen it be made, but if it is known to be somebody else's it is not there."""
    return item.kind is not None and item.param != call.route.variables[0]


def take_aim(call: Call, identity: Identity, owned: Known, pool: Pool) -> Aim:
    """The model and key of a call. ApiError with any refusal about objects or the model."""
    catalogue = pool.snapshot.catalogue
    if call.wanted and call.route.shape in CREATES and (asked := _asked_for(call, catalogue)):
        # Whoever names what no provider of his model keeps is told that, not that it is missing.
        reachable(call, asked, pool.snapshot)
    binding = bind(call, identity, owned)
    call = _completed(call, binding)
    if call.route.modality:
        model = _model(call, catalogue, binding)
    else:
        model = _place(call, pool, binding)
    pinned = binding.key if binding else None
    if binding:
        model = _at(model, binding.provider)
    elif call.wanted:
        # An operator's ids that nobody here has made: the account of the provider that takes all.
        pinned = pool.oldest(catalogue.catch_alls, clock.monotonic())
    return Aim(call, reachable(call, model, pool.snapshot), binding, pinned)


def _completed(call: Call, binding: Binding | None) -> Call:
    """What the objects a call names say about it: tokens of a thread, bytes of a file."""
    if binding is None:
        return call
    if call.route.shape is Shape.RUN:
        known = sum(_number(item, "tokens") for item in _of(binding, ObjectKind.THREAD))
        return replace(call, prompt=call.prompt + known) if known else call
    if call.route.shape is Shape.FINE_TUNING:
        size = sum(_number(item, "bytes") for item in _of(binding, ObjectKind.FILE))
        return replace(call, prompt=-(-size // 3) * epochs(call.body))
    if call.route.shape is Shape.VIDEO and call.body.get("seconds") is None:
        # What is made of a film is as long as it is.
        known = max((_seconds(item) for item in _of(binding, ObjectKind.VIDEO)), default=0)
        return replace(call, seconds=known) if known else call
    return call


def _of(binding: Binding, kind: ObjectKind) -> list[Owned]:
    return [item for item in binding.owned if item.kind == kind]


def _number(item: Owned, name: str) -> int:
    value = item.data.get(name)
    return value if type(value) is int and value > 0 else 0


def _seconds(item: Owned) -> int:
    """How long a film is. Providers write it as a text or as a number."""
    value = item.data.get("seconds")
    whole = number(value) if isinstance(value, str) else value
    return whole if type(whole) is int and 0 < whole <= MOST_SECONDS else 0


def epochs(body: Mapping[str, Any]) -> int:
    """How often a fine-tuning reads its file."""
    method = body.get("method")
    kinds = method.values() if isinstance(method, dict) else ()
    places = [body, *(kind for kind in kinds if isinstance(kind, dict))]
    for place in places:
        parameters = place.get("hyperparameters")
        count = parameters.get("n_epochs") if isinstance(parameters, dict) else None
        if type(count) is int and 0 < count <= MOST_EPOCHS:
            return count
    return _EPOCHS


def _model(call: Call, catalogue: Catalogue, binding: Binding | None) -> ModelInfo:
    """The model a call is of, and charged as."""
    route, name = call.route, call.model or _model_of(binding)
    assert route.modality, "an object has no model"
    if name.startswith("ft:") and binding:
        return catalogue.tuned(name, binding.provider)
    if name:
        return find_model(catalogue, name, route.modality)
    if route.default_model and (listed := catalogue.listed(route.default_model)):
        return listed
    guess = catalogue.guess("", route.modality) if route.nameless or binding else None
    if guess is None and route.shape is Shape.RUN and binding:
        # Its assistant's model is not known here: the dearest is what it may cost.
        traits = catalogue.dearest(route.modality)
        return ModelInfo("", traits, (OfferInfo(binding.provider, ""),))
    if guess is None:
        raise invalid("model", "'model' must be the id of a model; see GET /v1/models.")
    return guess


def _asked_for(call: Call, catalogue: Catalogue) -> ModelInfo | None:
    """The model a call names, where that alone says which it is."""
    try:
        return catalogue.find(call.model) if model_grammar(call.model) else None
    except Ambiguous:
        return None


def _model_of(binding: Binding | None) -> str:
    """The model an assistant or a film of the caller's was made with."""
    for item in binding.owned if binding else ():
        if item.kind in (ObjectKind.ASSISTANT, ObjectKind.VIDEO):
            model = item.data.get("model")
            if isinstance(model, str):
                return model
    return ""


def find_model(catalogue: Catalogue, name: str, modality: Modality = Modality.TEXT) -> ModelInfo:
    """The model of a name, or 404."""
    try:
        model = catalogue.find(name, modality) if model_grammar(name) else None
    except Ambiguous as error:
        raise ApiError(
            Code.MODEL_NOT_FOUND,
            f"'{name}' could be {' or '.join(error.names)}; ask for one of them.",
            param="model",
        ) from None
    if model is None:
        raise no_model(name, catalogue.near(name))
    return model


def no_model(name: str, near: Sequence[str] = ()) -> ApiError:
    """404, with what may have been meant."""
    text = f"The model '{name[:128]}' does not exist; see GET /v1/models."
    if near:
        text += f" Is it {' or '.join(near)}?"
    return ApiError(
        Code.MODEL_NOT_FOUND, text, param="model", extra={"near": list(near)} if near else None
    )


def _place(call: Call, pool: Pool, binding: Binding | None) -> ModelInfo:
    """Where a call of no model goes: to its objects, to the model it names in passing, or to the
    first provider that serves its route and has a key awake."""
    catalogue, service, name = pool.snapshot.catalogue, call.route.service, call.model
    assert service, "only a provider's routes are placed"
    listed = catalogue.listed(name) if name and model_grammar(name) else None
    serving = set(pool.snapshot.serving(service))
    # Where nobody who has the model serves this, nobody else knows the model either.
    if listed and (not binding or any(offer.provider in serving for offer in listed.offers)):
        return listed
    if binding:
        return ModelInfo("", Traits(), (OfferInfo(binding.provider, name),))
    now = clock.monotonic()
    providers = list(pool.snapshot.serving(service))
    awake = [it for it in providers if pool.awake(it, now, stored=call.stateful)]
    chosen = (awake or providers)[:1]
    return ModelInfo("", Traits(), tuple(OfferInfo(provider, name) for provider in chosen))


def _at(model: ModelInfo, provider: int) -> ModelInfo:
    """The same model at the one provider that may be asked."""
    offers = tuple(offer for offer in model.offers if offer.provider == provider)
    return model if offers == model.offers else replace(model, offers=offers)


def tariff_of(call: Call, model: ModelInfo, credits: bool) -> Tariff | None:
    """What the call is charged by; None: it is free."""
    route = call.route
    if not route.spends:
        return None
    if route.bucket is Bucket.FILE:
        return media_tariff(Bucket.FILE, credits=credits, per_call=0)
    bucket = media_bucket(route.modality or Modality.TEXT, model.name)
    if bucket:
        return media_tariff(
            bucket, credits=credits, per_call=model.traits.per_call, units=call.units,
            seconds=call.seconds,
        )  # fmt: skip
    return _text(
        pro=model.pro or route.bucket is Bucket.TEXT_PRO,
        credits=credits,
        price_in=model.traits.price_in,
        price_out=model.traits.price_out,
        fast=call.fast,
    )


_text = lru_cache(maxsize=1024)(text_tariff)

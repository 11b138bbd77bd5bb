"""What an adapter is: pure functions between our call and one kind of provider. No ORM, no socket.

`prepare` says what to send, `reader` digests what comes back, `judge` says who is to blame for a
reply that is no success, `catalog` reads a model list. One contract test runs all adapters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, Protocol

from bsod.lib.multipart import Form
from bsod.lib.spool import Body
from bsod.lib.terms import Blame, ObjectKind, Service, Shape


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a call an adapter needs: the provider's path, filled in, and the parsed body."""

    path: str
    body: Mapping[str, Any]
    """The parsed JSON body; of a form its plain fields that count (`model`); else empty."""
    stream: bool
    upstream_model: str
    model: str
    """The name the client asked for: the one the answer must carry."""
    limit: int | None
    """Output tokens to allow for each choice; None: say nothing."""
    choices: int
    wants_usage: bool
    """The client asked for usage in the stream, or is always sent it."""
    ask_usage: bool = True
    """Ask the provider for usage in the stream; off for those that refuse the field."""
    user: str = ""
    """An opaque hash in place of who the client is."""
    headers: Sequence[tuple[str, str]] = ()
    method: str = "POST"
    query: str = ""
    """The query as it is to be sent, without its mark."""
    shape: Shape = Shape.CHAT
    creates: ObjectKind | None = None
    form: Form | None = None
    beta: bool = False
    speaks: frozenset[Service] | None = None
    """What the model itself can be asked for; None: whatever its provider offers."""
    request_id: str = ""
    """Ours, told to the provider, so that both ends can speak of the same call."""


@dataclass(frozen=True, slots=True)
class Found:
    """An id that an answer has made, or has shown to be the caller's."""

    kind: ObjectKind
    id: str
    data: Mapping[str, Any] = field(default_factory=dict)
    """What of it is kept here: sizes and states, never content."""
    lives: float | None = None
    """Seconds after which the provider forgets it; None: it does not say."""


class Listed(NamedTuple):
    """A model as a provider lists it: its id, and what else the list says."""

    id: str
    context: int | None = None
    """Tokens a prompt and its answer may have together."""
    output: int | None = None
    """Tokens an answer may have."""
    shutdown: date | None = None
    """The day from which the provider does not serve it any more."""
    services: frozenset[Service] | None = None
    """What it can be asked for, where the list says it."""
    price_in: float | None = None
    """Dollars for a million tokens of a prompt."""
    price_out: float | None = None
    """Dollars for a million tokens of an answer."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """A request to a provider. `target` is the path and query, exactly as to be sent."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Body = field(repr=False)
    leaves: str = ""
    """What of the base URL's end does not belong to the path."""
    onward: "Callable[[bytes], Outbound] | None" = field(default=None, repr=False)
    """What is asked next, with what a 2xx answer to this one says. Raises Refused, Malformed."""

    def under(self, base_url: str) -> str:
        """The base URL that `target` lies under."""
        return base_url.rstrip("/").removesuffix(self.leaves)


@dataclass(slots=True)
class Usage:
    """Tokens as the provider counted them."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose fault a reply is. `wait` is in seconds, where the provider named it."""

    blame: Blame
    wait: float | None = None
    message: str = ""
    param: str | None = None
    code: str | None = None
    refuses_usage: bool = False
    """The provider does not know `stream_options`: ask once more without it."""


class Refused(Exception):
    """This kind of provider cannot do what the caller asks: his fault, and no key's."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param, self.message = param, message


class Malformed(Exception):
    """The provider's reply breaks its own protocol."""


class TooLarge(Malformed):
    """The provider's reply, or one event of it, outgrew its cap."""


class Reader(Protocol):
    """Digests one reply, as it comes."""

    usage: Usage | None
    tier: str | None
    """The service tier the answer says it came from."""
    found: list[Found]
    """Ids seen so far. Whoever relays takes them out, and lets nothing that `feed` has returned
    with them go on before they are recorded."""
    state: Mapping[str, Any] | None
    """The last full object the answer showed: a run, a batch, a response. None: none."""
    units: int | None
    """Things with a price each that the answer has, as images; None: it does not count them."""
    shown: int
    """How many of them have gone on."""
    preview: bool
    """A part of another has gone on."""

    @property
    def produced(self) -> int:
        """Output tokens delivered so far, estimated by the byte rule."""

    @property
    def complete(self) -> bool:
        """Whether the reply has reached its proper end. Raises what `feed` has put off."""


class StreamReader(Reader, Protocol):
    passes_json: bool
    """An answer that is no stream of events goes on as what it is, read by the `whole_reader`;
    if not, `whole` makes events of it."""

    @property
    def done(self) -> bool:
        """Whether the provider has said its last word: nothing that follows matters."""

    def whole(self, data: bytes) -> bytes:
        """The entire body of a provider that answered a stream with JSON, as events for the
        client. Raises Malformed, UpstreamFault."""

    def feed(self, data: bytes) -> bytes:
        """What of `data` goes to the client now. Raises Malformed, UpstreamFault; behind
        something to deliver that is put off to the next look."""

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        """What was held back until the close: the usage chunk and the end mark."""


class WholeReader(Reader, Protocol):
    def whole(self, data: bytes) -> None:
        """Take the entire body. Raises Malformed."""

    def finish(self, extra: Mapping[str, Any] | None) -> bytes:
        """The body for the client."""


class UpstreamFault(Exception):
    """The provider said inside a 200 that it failed."""


class Adapter(Protocol):
    kind: str

    def serves(self, service: Service) -> bool:
        """Whether providers of this kind offer it."""

    def prepare(self, asked: Asked, secret: str) -> Outbound:
        """The request for one attempt. Raises Refused."""

    def stream_reader(self, asked: Asked) -> StreamReader: ...

    def whole_reader(self, asked: Asked) -> WholeReader: ...

    def judge(self, status: int, headers: Mapping[str, str], head: bytes) -> Verdict: ...

    def list_models(self, secret: str) -> Outbound: ...

    def catalog(self, payload: Any) -> list[Listed]:
        """The models of a list. Raises Malformed."""

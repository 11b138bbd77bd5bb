"""Gemini's films (Veo), as OpenAI's video objects.

A film begins as an operation (`:predictLongRunning`), is looked at until that is done, and lies in
a file that only the finished operation names. Google says neither when it was begun nor how long
it is: so an id of ours carries the operation and these, and nothing has to be kept elsewhere.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from bsod.lib import clock
from proxy.providers.base import Asked, Malformed, Outbound, Refused
from proxy.providers.gemini_images import fields_of, picture_of, pictures
from proxy.providers.gemini_native import SURFACE, VERSION, model_of, native
from proxy.providers.reading import written
from proxy.providers.refusals import redact
from proxy.providers.whole import ObjectWhole

KEPT = 2 * 86_400  # seconds Google keeps a film
_SECONDS = 4  # what OpenAI makes when nothing is said
_PREFIX = "video_"
_PLAIN_SIZE = "1280x720"
_SIZES = {
    "1280x720": ("16:9", "720p"), "720x1280": ("9:16", "720p"),
    "1920x1080": ("16:9", "1080p"), "1080x1920": ("9:16", "1080p"),
    "3840x2160": ("16:9", "4k"), "2160x3840": ("9:16", "4k"),
}  # fmt: skip
_EXTRAS = {"negative_prompt": "negativePrompt", "person_generation": "personGeneration",
           "seed": "seed"}  # fmt: skip
_OF_BYTES = ("accept", "range")  # headers that are meant for the film itself
_BARE = r"([A-Za-z0-9][A-Za-z0-9._-]{0,79})"
_OPERATION = r"([A-Za-z0-9_-]{1,80})"
_NAME = re.compile(rf"models/{_BARE}/operations/{_OPERATION}", re.ASCII)
_INSIDE = re.compile(
    rf"{_BARE}/{_OPERATION}/([0-9a-f]{{1,10}})/(\d{{1,3}})/(\d{{3,4}}x\d{{3,4}})", re.ASCII
)
_FILE = re.compile(r"https://[^/]+/(?:download/)?v1beta/files/([A-Za-z0-9_-]{1,100})(?::|$)")


class Film(NamedTuple):
    model: str
    operation: str
    born: int
    seconds: int
    size: str

    @property
    def id(self) -> str:
        inside = f"{self.model}/{self.operation}/{self.born:x}/{self.seconds}/{self.size}"
        return _PREFIX + base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")

    @property
    def target(self) -> str:
        return f"/models/{self.model}/operations/{self.operation}"


def film_of(id_: str) -> Film:
    """Raises Refused: the id is none that was made here."""
    text = id_.removeprefix(_PREFIX)
    try:
        inside = base64.b64decode(text + "=" * (-len(text) % 4), "-_", validate=True).decode()
    except (binascii.Error, ValueError):
        inside = ""
    found = _INSIDE.fullmatch(inside)
    if not found:
        raise Refused("video_id", "Gemini has no such video.")
    return Film(found[1], found[2], int(found[3], 16), int(found[4]), found[5])


def films(asked: Asked, secret: str) -> Outbound:
    """Begin a film, look at one, or fetch it. Raises Refused."""
    _, _, rest = asked.path.partition("/")
    if asked.method == "POST" and not rest:
        body = _begun(asked)
        return native(asked, secret, f"/models/{model_of(asked)}:predictLongRunning", body)
    id_, _, what = rest.partition("/")
    if asked.method == "GET" and what == "":
        return native(asked, secret, film_of(id_).target)
    if asked.method == "GET" and what == "content":
        return _fetched(asked, secret, film_of(id_))
    raise Refused("video_id", "Gemini's videos can be made, looked at and fetched, nothing else.")


def _begun(asked: Asked) -> dict[str, Any]:
    fields = fields_of(asked)
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Refused("prompt", "'prompt' must be a text.")
    instance: dict[str, Any] = {"prompt": prompt}
    if picture := _first_frame(asked, fields):
        instance["image"] = {
            "bytesBase64Encoded": picture["data"], "mimeType": picture["mimeType"]
        }  # fmt: skip
    ratio, resolution = _SIZES[_size(fields)]
    parameters: dict[str, Any] = {"aspectRatio": ratio, "durationSeconds": _length(fields)}
    if not model_of(asked).startswith("veo-2"):
        parameters["resolution"] = resolution
    extras = {theirs: fields[ours] for ours, theirs in _EXTRAS.items() if fields.get(ours)}
    return {"instances": [instance], "parameters": {**parameters, **extras}}


def _first_frame(asked: Asked, fields: Mapping[str, Any]) -> dict[str, str] | None:
    given = fields.get("input_reference")
    if given is not None:
        url = given.get("image_url") if isinstance(given, dict) else given
        return picture_of(url, "input_reference")
    return next(pictures(asked.form), None)


def _length(fields: Mapping[str, Any]) -> int:
    value = fields.get("seconds")
    seconds = int(value) if isinstance(value, str) and value.isdecimal() else value
    if seconds is None:
        return _SECONDS
    if type(seconds) is not int or not 1 <= seconds <= 999:
        raise Refused("seconds", "'seconds' must be a whole number: Veo makes 4, 6 or 8.")
    return seconds


def _size(fields: Mapping[str, Any]) -> str:
    size = fields.get("size") or _PLAIN_SIZE
    if not isinstance(size, str) or size not in _SIZES:
        raise Refused("size", f"'size' must be one of {', '.join(_SIZES)}.")
    return size


def _fetched(asked: Asked, secret: str, film: Film) -> Outbound:
    """The operation first: only it says where the film lies."""
    if "variant=" in asked.query and "variant=video" not in asked.query:
        raise Refused("variant", "Gemini has the video alone: leave 'variant' out.")

    def onward(data: bytes) -> Outbound:
        shown = _state(film, _object(data))
        if shown["status"] != "completed":
            raise Refused("video_id", f"The video is not there to be fetched: {shown['status']}.")
        target = f"/download{VERSION}/files/{_file(_object(data))}:download?alt=media"
        return replace(native(asked, secret, target), leaves=VERSION + SURFACE)

    plain = replace(asked, headers=[pair for pair in asked.headers if pair[0] not in _OF_BYTES])
    return replace(native(plain, secret, film.target), onward=onward)


def _object(data: bytes) -> dict[str, Any]:
    """An operation, which has an `error` where the film failed. Raises Malformed."""
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Malformed("the reply is no JSON") from None
    if not isinstance(reply, dict) or not _NAME.fullmatch(str(reply.get("name"))):
        raise Malformed("the reply is no operation")
    return reply


def _file(operation: Mapping[str, Any]) -> str | None:
    """The file a finished operation names."""
    inside: Any = operation
    for name in ("response", "generateVideoResponse", "generatedSamples", 0, "video", "uri"):
        try:
            inside = inside[name]
        except (KeyError, IndexError, TypeError):
            return None
    found = _FILE.match(inside) if isinstance(inside, str) else None
    return found[1] if found else None


def _state(film: Film, operation: Mapping[str, Any]) -> dict[str, Any]:
    """The video object an operation stands for."""
    status, error = "in_progress", None
    if operation.get("done") is True:
        status = "completed" if _file(operation) else "failed"
        error = None if status == "completed" else _error(operation.get("error"))
    ended = status == "completed"
    return {
        "id": film.id,
        "object": "video",
        "model": film.model,
        "status": status,
        "progress": 100 if ended else 0,
        "created_at": film.born,
        "completed_at": None,
        "expires_at": film.born + KEPT if ended else None,
        "seconds": str(film.seconds),
        "size": film.size,
        "prompt": None,
        "remixed_from_video_id": None,
        "error": error,
    }


def _error(error: Any) -> dict[str, str]:
    """An operation without a film and without an error was filtered."""
    said = error.get("message") if isinstance(error, dict) else None
    if isinstance(said, str) and said:
        return {"code": "video_generation_failed", "message": redact(said[:2000])}
    return {"code": "moderation_blocked", "message": "The provider made no video of this prompt."}


class FilmWhole(ObjectWhole):
    """A film that has been begun, or looked at."""

    def whole(self, data: bytes) -> None:
        operation = _object(data)
        if self.asked.method == "GET":
            shown = _state(film_of(self.asked.path.partition("/")[2]), operation)
        else:
            shown = {**_state(self._film(operation), operation)}
            shown["status"] = "queued" if shown["status"] == "in_progress" else shown["status"]
        super().whole(written(shown))

    def _film(self, operation: Mapping[str, Any]) -> Film:
        fields, found = fields_of(self.asked), _NAME.fullmatch(str(operation.get("name")))
        assert found, "an operation has a name"
        born = clock.unix(clock.now())
        return Film(found[1], found[2], born, _length(fields), _size(fields))

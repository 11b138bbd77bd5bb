"""What a row of the route table says."""

import re
from dataclasses import dataclass
from enum import StrEnum

from bsod.lib.terms import Bucket, Modality, ObjectKind, Permission, Service, Shape

IDEMPOTENCY_KEY = "Idempotency-Key"
"""The header that names one request of a row that `spends`."""
VARIABLE = re.compile(r"\{(\w+)\}")
# What the variables of a path name. The first one of a path has an owner; what follows lives
# under it, and the provider keeps it there.
NAMES: dict[str, ObjectKind] = {
    "file_id": ObjectKind.FILE,
    "upload_id": ObjectKind.UPLOAD,
    "response_id": ObjectKind.RESPONSE,
    "completion_id": ObjectKind.COMPLETION,
    "assistant_id": ObjectKind.ASSISTANT,
    "thread_id": ObjectKind.THREAD,
    "message_id": ObjectKind.MESSAGE,
    "run_id": ObjectKind.RUN,
    "batch_id": ObjectKind.BATCH,
    "fine_tuning_job_id": ObjectKind.FINE_TUNING_JOB,
    "fine_tuned_model_checkpoint": ObjectKind.MODEL,
    "model": ObjectKind.MODEL,
    "vector_store_id": ObjectKind.VECTOR_STORE,
    "file_batch_id": ObjectKind.FILE_BATCH,
    "video_id": ObjectKind.VIDEO,
    "character_id": ObjectKind.CHARACTER,
    "consent_id": ObjectKind.CONSENT,
    "voice_id": ObjectKind.VOICE,
}


def megabytes(size: int) -> str:
    """A size as it is told: some limits are counted in powers of two, and are said the same."""
    return f"{size // 1_048_576 if size % 1_048_576 == 0 else size // 1_000_000} MB"


class Plane(StrEnum):
    GATEWAY = "gateway"
    DJANGO = "django"


class BodyKind(StrEnum):
    NONE = "none"
    JSON = "json"
    FORM = "form"
    """multipart/form-data; beyond a megabyte it waits on disk, never in memory."""
    EITHER = "either"
    """JSON or a form."""


class ReplyKind(StrEnum):
    JSON = "json"
    STREAM = "stream"
    """JSON, or server-sent events when the body (or the query of a GET) says so."""
    BYTES = "bytes"
    """Whatever it is, as it comes; ranges are passed on."""
    TABLE = "table"
    """JSON, or CSV when asked."""


class Close(StrEnum):
    """When a call's entry is closed."""

    FREE = "free"
    """It has none: it costs nothing."""
    RESPONSE = "response"
    JOB = "job"
    """When what it has begun at the provider has ended."""


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is ours and, behind `/v1/`, the provider's too. `modality`: the call is of a model
    of that kind. `bucket`: what it draws on, where the model does not decide that."""

    method: str
    path: str
    summary: str
    group: str = ""
    plane: Plane = Plane.GATEWAY
    needs_key: bool = True
    permission: Permission | None = None
    service: Service | None = None
    """None: answered here, no provider sees it."""
    shape: Shape = Shape.OBJECT
    modality: Modality | None = None
    bucket: Bucket | None = None
    default_model: str = ""
    """The model of a call that names none; "": it must name one."""
    nameless: bool = False
    """A call that names no model may go to a provider that takes any."""
    body: BodyKind = BodyKind.NONE
    body_limit: int = 0
    file_limit: int = 0
    """Bytes of one file of a form."""
    reply: ReplyKind = ReplyKind.JSON
    close: Close = Close.FREE
    creates: ObjectKind | None = None
    """What a 2xx answer has made; its id becomes the caller's."""
    lists: ObjectKind | None = None
    """Answered from our own record of who owns what."""
    sent_to: str = ""
    """The provider's path, where it is not ours."""
    beta: bool = False
    """Goes out with `OpenAI-Beta: assistants=v2`."""
    local: str = ""
    """Name of the answer in `gateway/local.py` for a route no provider sees."""

    @property
    def upstream(self) -> str:
        """The provider's path, its variables still in it."""
        return self.sent_to or self.path.removeprefix("/v1/")

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(VARIABLE.findall(self.path))

    @property
    def owns(self) -> ObjectKind | None:
        """The kind of the object the path begins with: it must be the caller's."""
        names = self.variables
        return NAMES.get(names[0]) if names and self.service else None

    @property
    def spends(self) -> bool:
        """Whether the provider's money is spent on it."""
        return self.close is not Close.FREE

"""The nouns every floor shares. One file, so that no word is spelt twice."""

from enum import StrEnum


class Bucket(StrEnum):
    """What a balance counts (SPEC §3)."""

    TEXT_BASE = "text.base"
    TEXT_PRO = "text.pro"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO_SORA2PRO = "video.sora2pro"
    VIDEO_SORA2 = "video.sora2"
    VIDEO_OTHER = "video.other"
    FILE = "file"
    CREDITS = "credits"


class Permission(StrEnum):
    """What an API key may do; each can be switched off."""

    PRO_MODELS = "pro_models"
    IMAGES = "images"
    AUDIO = "audio"
    VIDEO = "video"
    FILES = "files"
    BALANCE = "balance"
    REALTIME = "realtime"


class PlanKind(StrEnum):
    BUCKETS = "buckets"
    CREDITS = "credits"


class EntryKind(StrEnum):
    CALL = "call"
    GRANT = "grant"
    CORRECTION = "correction"


class EntryState(StrEnum):
    """`open` is the only state an entry can leave."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class EndReason(StrEnum):
    COMPLETED = "completed"
    CLIENT_GONE = "client_gone"
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


class UsageSource(StrEnum):
    UPSTREAM = "upstream"
    ESTIMATED = "estimated"


class OutcomeState(StrEnum):
    """What there is to give again to whoever asks twice with one Idempotency-Key."""

    RUNNING = "running"
    KEPT = "kept"
    TOO_LARGE = "too_large"
    LOST = "lost"
    """It was charged, and its answer has no whole copy."""


class Tier(StrEnum):
    BASE = "base"
    PRO = "pro"


class Modality(StrEnum):
    TEXT = "text"
    EMBEDDING = "embedding"
    MODERATION = "moderation"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class Blame(StrEnum):
    """What one attempt at a provider says about the key that made it (SPEC §5)."""

    NOBODY = "ok"
    CLIENT = "client"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    BILLING = "billing"
    FAILURE = "failure"
    CONNECT = "connect"


class RestReason(StrEnum):
    """Why a key is left alone. `rate_limit` and `cooled` end by the clock, `off` when an admin says
    so; the others by a probe."""

    NEW = "new"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    BILLING = "billing"
    FAILURES = "failures"
    UNREACHABLE = "unreachable"
    COOLED = "cooled"
    """An admin has sent it to rest for a while."""
    OFF = "off"
    """An admin has switched it off."""


class Service(StrEnum):
    """What a provider must offer to serve a route: a group of OpenAI's API, or a part of one
    that some providers lack."""

    CHAT = "chat"
    RESPONSES = "responses"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    MODERATIONS = "moderations"
    IMAGES = "images"
    IMAGE_VARIATIONS = "image_variations"
    AUDIO = "audio"
    VIDEOS = "videos"
    FILES = "files"
    UPLOADS = "uploads"
    ASSISTANTS = "assistants"
    THREADS = "threads"
    BATCHES = "batches"
    FINE_TUNING = "fine_tuning"
    VECTOR_STORES = "vector_stores"
    MODELS = "models"


class Shape(StrEnum):
    """How a call's body is read and estimated, and how its answer is read."""

    CHAT = "chat"
    COMPLETION = "completion"
    RESPONSE = "response"
    COMPACTION = "compaction"
    EMBEDDING = "embedding"
    MODERATION = "moderation"
    IMAGE = "image"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    VIDEO = "video"
    RUN = "run"
    BATCH = "batch"
    FINE_TUNING = "fine_tuning"
    GRADER = "grader"
    FILE = "file"
    UPLOAD = "upload"
    OBJECT = "object"
    """Any JSON, passed on as it is."""
    CONTENT = "content"
    """Bytes, passed on as they come."""


class ObjectKind(StrEnum):
    """What lives on a provider's account and has an owner here (SPEC §4)."""

    FILE = "file"
    UPLOAD = "upload"
    PART = "part"
    RESPONSE = "response"
    ITEM = "item"
    COMPLETION = "completion"
    ASSISTANT = "assistant"
    THREAD = "thread"
    MESSAGE = "message"
    RUN = "run"
    BATCH = "batch"
    FINE_TUNING_JOB = "fine_tuning_job"
    MODEL = "model"
    VECTOR_STORE = "vector_store"
    FILE_BATCH = "file_batch"
    VIDEO = "video"
    CHARACTER = "character"
    VOICE = "voice"
    CONSENT = "consent"
    CONTAINER = "container"


def choices(words: type[StrEnum]) -> list[tuple[str, str]]:
    """The words of one of these, as a model's column names its choices."""
    return [(str(word), str(word)) for word in words]

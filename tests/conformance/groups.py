"""Which of the client's test files belong to which of our groups, and what a user is refused.

Every file of `tests/api_resources` has a place here, in a group or among the others: a newer
client that brings a file nobody has placed stops the run, so that nothing is dropped silently.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

FOLDER = "tests/api_resources/"

# A name without `.py` is a folder with all that is in it. `beta/responses` is the same API,
# asked for with `?beta=true`.
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "chat": ("chat",),
    "responses": (
        "test_responses.py", "responses", "beta/test_responses.py", "beta/responses",
    ),
    "completions": ("test_completions.py",),
    "embeddings": ("test_embeddings.py",),
    "moderations": ("test_moderations.py",),
    "images": ("test_images.py",),
    "audio": ("audio",),
    "videos": ("test_videos.py",),
    "files": ("test_files.py",),
    "uploads": ("test_uploads.py", "uploads"),
    "assistants": ("beta/test_assistants.py",),
    "threads": ("beta/test_threads.py", "beta/threads"),
    "batches": ("test_batches.py",),
    "fine_tuning": ("fine_tuning",),
    "vector_stores": ("test_vector_stores.py", "vector_stores"),
    "models": ("test_models.py",),
})  # fmt: skip

# Parts of OpenAI's API that this gateway does not have.
OTHERS = (
    "admin", "beta/agents", "beta/chatkit", "beta/test_agents.py", "beta/test_realtime.py",
    "containers", "conversations", "evals", "live", "realtime", "safety", "skills",
    "test_containers.py", "test_content_provenance_checks.py", "test_conversations.py",
    "test_decisions.py", "test_evals.py", "test_live.py", "test_realtime.py", "test_skills.py",
    "test_webhooks.py", "webhooks",
)  # fmt: skip

# Groups that an ordinary user can call without an object somebody made before.
USER_GROUPS = (
    "chat", "responses", "completions", "embeddings", "moderations", "images", "audio", "models",
)  # fmt: skip


class Foreign(NamedTuple):
    """Tests that name an object the user has never made: he must be told 404."""

    file: str
    calls: str
    """The client's methods, as the names of the tests end; a pattern."""
    reason: str


_STORED = "a response this user never made"
_COMPLETION = "a stored completion this user never made"
_CURSOR = "`after` is the id of an object this user never made"
_CONTEXT = "previous_response_id, conversation or prompt of somebody else"

FOREIGN = (
    Foreign("chat/test_completions.py", "retrieve|update|delete", _COMPLETION),
    Foreign("chat/test_completions.py", "list_with_all_params", _CURSOR),
    Foreign("chat/completions/test_messages.py", "list", _COMPLETION),
    *(
        Foreign(f"{beta}test_responses.py", calls, reason)
        for beta in ("", "beta/")
        for calls, reason in (
            ("create_with_all_params", _CONTEXT),
            ("compact_with_all_params", _CONTEXT),
            ("retrieve|delete|cancel", _STORED),
        )
    ),
    *(
        Foreign(f"{beta}responses/{file}", calls, reason)
        for beta in ("", "beta/")
        for file, calls, reason in (
            ("test_input_items.py", "list", _STORED),
            ("test_input_tokens.py", "count_with_all_params", _CONTEXT),
        )
    ),
    Foreign("audio/test_voice_consents.py", "retrieve|update|delete", "a consent of nobody"),
    Foreign("audio/test_voice_consents.py", "list_with_all_params", _CURSOR),
    Foreign("audio/test_voices.py", "create|delete", "a consent or voice of somebody else"),
    Foreign("test_models.py", "delete", "a fine-tuned model of somebody else"),
)


class Unplaced(Exception):
    """The archive has test files that no group and no list names."""


def group_of(nodeid: str) -> str | None:
    """The group of a test or of its file; None when the gateway does not have that API."""
    return _place(_file(nodeid))


def foreign(nodeid: str) -> Foreign | None:
    """Why a user is refused in this test, when he is."""
    name = nodeid.rpartition("::")[2]
    for row in FOREIGN:
        # Tests of empty path parameters (`test_path_params_…`) end in the client itself.
        pattern = rf"test_(method|raw_response|streaming_response)_({row.calls})(_|\[|$)"
        if _file(nodeid) == row.file and re.match(pattern, name):
            return row
    return None


def placed(root: Path) -> tuple[dict[str, list[str]], int]:
    """The archive's test files by group, and how many belong to parts we do not have."""
    files = sorted((root / FOLDER).rglob("test_*.py"))
    names = [path.relative_to(root).as_posix() for path in files]
    if lost := [name for name in names if not _place(_file(name)) and not _other(_file(name))]:
        raise Unplaced(f"tests/conformance/groups.py does not place {', '.join(lost)}")
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in names:
        if group := group_of(name):
            found[group].append(name)
    if empty := [group for group, named in found.items() if not named]:
        raise Unplaced(f"the archive has no tests for {', '.join(empty)}")
    return found, len(names) - sum(map(len, found.values()))


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix(FOLDER)


def _place(file: str) -> str | None:
    return next((group for group, spots in GROUPS.items() if _within(file, spots)), None)


def _other(file: str) -> bool:
    return _within(file, OTHERS)


def _within(file: str, spots: Iterable[str]) -> bool:
    return any(file == spot or file.startswith(f"{spot}/") for spot in spots)

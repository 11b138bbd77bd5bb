"""The one table of routes. Matching, 405 and `Allow`, CORS, summaries and docs all come from it.

What a row says is in `route.py`, how a path finds its row in `matching.py`. Pass-through is this
list and nothing else: a path that is not here reaches no provider.
"""

from functools import partial
from typing import Any

from bsod.lib.terms import Bucket, Modality, ObjectKind, Permission, Service, Shape
from proxy.route import BodyKind, Close, Plane, ReplyKind, Route

Rest = dict[str, Any]  # what the rows of a group have in common
MB = 1_000_000
TEXT, SMALL = 32 * MB, MB
# Bytes of a whole form, and of a file in it.
PICTURES: Rest = {"body_limit": 17 * 50 * MB, "file_limit": 50 * MB}  # sixteen and a mask
RECORDING: Rest = {"body_limit": 26 * MB, "file_limit": 25 * MB}
FOOTAGE: Rest = {"body_limit": 51 * MB, "file_limit": 50 * MB}
WHOLE: Rest = {"body_limit": 538 * MB, "file_limit": 536_870_912}
PART: Rest = {"body_limit": 68 * MB, "file_limit": 67_108_864}

_get = partial(Route, "GET")
_delete = partial(Route, "DELETE")
_post = partial(Route, "POST")
_json = partial(_post, body=BodyKind.JSON, body_limit=SMALL)
_form = partial(_post, body=BodyKind.FORM)

_LOCAL = (
    _get("/v1", "What this API offers", "discovery", needs_key=False, local="root"),
    _get("/v1/openapi.json", "This API as an OpenAPI document", "discovery", needs_key=False,
         local="openapi"),
    _get("/v1/images", "The routes for images", "discovery", needs_key=False, local="namespace"),
    _get("/v1/audio", "The routes for audio", "discovery", needs_key=False, local="namespace"),
    _get("/v1/realtime", "The routes of the realtime API", "discovery", needs_key=False,
         local="namespace"),
    _get("/v1/fine_tuning", "The routes for fine-tuning", "discovery", needs_key=False,
         local="namespace"),
    _get("/catalog", "Every provider's models, and whether they can be had", "discovery",
         plane=Plane.DJANGO, needs_key=False),
    _get("/v1/models", "The catalogue of models", "models", local="models"),
    _get("/v1/models/{model}", "One model of the catalogue", "models", local="model"),
    _json("/v1/realtime/sessions", "Not offered: it cannot be metered end to end", "realtime",
          permission=Permission.REALTIME, local="realtime"),
    _get("/livez", "Whether the process answers", "monitoring", needs_key=False, local="livez"),
    _get("/readyz", "Whether it can take calls", "monitoring", needs_key=False, local="readyz"),
    _get("/status", "How calls fare, by route and by model; a page for browsers", "monitoring",
         plane=Plane.DJANGO, needs_key=False),
    _get("/status/raw", "The counters behind it", "monitoring", plane=Plane.DJANGO,
         needs_key=False),
    _get("/health", "The providers' keys by their state, and what was called lately",
         "monitoring", plane=Plane.DJANGO, needs_key=False),
    _get("/metrics", "The counters for Prometheus: for an admin, or with `METRICS_TOKEN`",
         "monitoring", plane=Plane.DJANGO, needs_key=False, reply=ReplyKind.BYTES),
    _get("/balance", "What the key has left", "account", plane=Plane.DJANGO,
         permission=Permission.BALANCE),
    _get("/key-info", "The same, under its older name", "account", plane=Plane.DJANGO,
         permission=Permission.BALANCE),
    _get("/usage", "What the account has used, by day, model and key", "account",
         plane=Plane.DJANGO, permission=Permission.BALANCE, reply=ReplyKind.TABLE),
    _get("/v1/generations/{request_id}", "What a call has cost, by its `x-request-id`", "account",
         local="generation"),
)  # fmt: skip

_text = partial(
    _json, body_limit=TEXT, modality=Modality.TEXT, reply=ReplyKind.STREAM, close=Close.RESPONSE
)
_chat: Rest = {"group": "chat", "service": Service.CHAT}
_CHAT = (
    _text("/v1/chat/completions", "A chat completion, whole or streamed", **_chat,
          shape=Shape.CHAT, creates=ObjectKind.COMPLETION),
    _get("/v1/chat/completions", "Your stored chat completions", **_chat,
         lists=ObjectKind.COMPLETION),
    _get("/v1/chat/completions/{completion_id}", "A stored chat completion", **_chat),
    _json("/v1/chat/completions/{completion_id}", "Change its metadata", **_chat),
    _delete("/v1/chat/completions/{completion_id}", "Delete it", **_chat),
    _get("/v1/chat/completions/{completion_id}/messages", "Its messages", **_chat),
)  # fmt: skip

_responses: Rest = {"group": "responses", "service": Service.RESPONSES}
_RESPONSES = (
    _text("/v1/responses", "A response, whole, streamed or in the background", **_responses,
          shape=Shape.RESPONSE, creates=ObjectKind.RESPONSE, nameless=True),
    _text("/v1/responses/compact", "A conversation, compacted", **_responses,
          shape=Shape.COMPACTION, reply=ReplyKind.JSON, creates=ObjectKind.RESPONSE),
    _json("/v1/responses/input_tokens", "How many tokens an input has", **_responses,
          body_limit=TEXT),
    _get("/v1/responses/{response_id}", "A stored response", **_responses,
         reply=ReplyKind.STREAM),
    _delete("/v1/responses/{response_id}", "Delete it", **_responses),
    _post("/v1/responses/{response_id}/cancel", "Cancel it, if it runs in the background",
          **_responses),
    _get("/v1/responses/{response_id}/input_items", "What it was asked", **_responses),
)  # fmt: skip

_VECTORS = (
    _text("/v1/completions", "A text completion, whole or streamed", "completions",
          service=Service.COMPLETIONS, shape=Shape.COMPLETION),
    _text("/v1/embeddings", "Embeddings of texts", "embeddings", service=Service.EMBEDDINGS,
          shape=Shape.EMBEDDING, modality=Modality.EMBEDDING, body_limit=16 * MB,
          reply=ReplyKind.JSON),
    _text("/v1/moderations", "Whether texts and images are harmful", "moderations",
          service=Service.MODERATIONS, shape=Shape.MODERATION, modality=Modality.MODERATION,
          reply=ReplyKind.JSON, default_model="omni-moderation-latest", nameless=True),
)  # fmt: skip

_image = partial(
    _post, group="images", service=Service.IMAGES, shape=Shape.IMAGE, modality=Modality.IMAGE,
    permission=Permission.IMAGES, reply=ReplyKind.STREAM, close=Close.RESPONSE,
    default_model="gpt-image-1", nameless=True,
)  # fmt: skip
_IMAGES = (
    _image("/v1/images/generations", "Images from a text", body=BodyKind.JSON, body_limit=SMALL),
    _image("/v1/images/edits", "Images edited by a text", body=BodyKind.FORM, **PICTURES),
    _image("/v1/images/variations", "Variations of an image", service=Service.IMAGE_VARIATIONS,
           body=BodyKind.FORM, **PICTURES, reply=ReplyKind.JSON),
)  # fmt: skip

_sound: Rest = {"group": "audio", "service": Service.AUDIO, "permission": Permission.AUDIO}
_audio = partial(_post, **_sound, modality=Modality.AUDIO, close=Close.RESPONSE)
_AUDIO = (
    _audio("/v1/audio/speech", "Speech from a text", shape=Shape.SPEECH, body=BodyKind.JSON,
           body_limit=SMALL, reply=ReplyKind.BYTES),
    _audio("/v1/audio/transcriptions", "The words of a recording", shape=Shape.TRANSCRIPTION,
           body=BodyKind.FORM, **RECORDING, reply=ReplyKind.STREAM),
    _audio("/v1/audio/translations", "The words of a recording, in English",
           shape=Shape.TRANSCRIPTION, body=BodyKind.FORM, **RECORDING,
           reply=ReplyKind.STREAM),
    _form("/v1/audio/voices", "A voice of your own", **_sound, **RECORDING,
          body=BodyKind.EITHER, creates=ObjectKind.VOICE),
    _delete("/v1/audio/voices/{voice_id}", "Delete it", **_sound),
    _form("/v1/audio/voice_consents", "A speaker's consent", **_sound, **RECORDING,
          creates=ObjectKind.CONSENT),
    _get("/v1/audio/voice_consents", "Your recorded consents", **_sound,
         lists=ObjectKind.CONSENT),
    _get("/v1/audio/voice_consents/{consent_id}", "A consent", **_sound),
    _json("/v1/audio/voice_consents/{consent_id}", "Rename it", **_sound),
    _delete("/v1/audio/voice_consents/{consent_id}", "Withdraw it", **_sound),
)  # fmt: skip

_film: Rest = {"group": "videos", "service": Service.VIDEOS, "permission": Permission.VIDEO}
_video = partial(
    _post, **_film, shape=Shape.VIDEO, modality=Modality.VIDEO, body=BodyKind.EITHER,
    **FOOTAGE, close=Close.JOB, creates=ObjectKind.VIDEO, default_model="sora-2",
    nameless=True,
)  # fmt: skip
_VIDEOS = (
    _video("/v1/videos", "Begin a video"),
    _video("/v1/videos/edits", "Begin an edit of a video"),
    _video("/v1/videos/extensions", "Begin an extension of a video"),
    _video("/v1/videos/{video_id}/remix", "Begin a remix of a video"),
    _form("/v1/videos/characters", "A character for videos", **_film, **FOOTAGE,
          creates=ObjectKind.CHARACTER),
    _get("/v1/videos/characters/{character_id}", "A character", **_film),
    _get("/v1/videos", "Your videos", **_film, lists=ObjectKind.VIDEO),
    _get("/v1/videos/{video_id}", "A video's state", **_film),
    _delete("/v1/videos/{video_id}", "Delete it", **_film),
    _get("/v1/videos/{video_id}/content", "The video itself", **_film, shape=Shape.CONTENT,
         reply=ReplyKind.BYTES),
)  # fmt: skip

_stored: Rest = {"group": "files", "service": Service.FILES, "permission": Permission.FILES}
_FILES = (
    _form("/v1/files", "Upload a file", **_stored, shape=Shape.FILE, bucket=Bucket.FILE,
          **WHOLE, close=Close.RESPONSE, creates=ObjectKind.FILE),
    _get("/v1/files", "Your files", **_stored, lists=ObjectKind.FILE),
    Route("DELETE", "/v1/files", "Delete the file that `?id=` names", "files",
          permission=Permission.FILES, local="needs_id"),
    _get("/v1/files/{file_id}", "A file's description", **_stored),
    _delete("/v1/files/{file_id}", "Delete it", **_stored),
    _get("/v1/files/{file_id}/content", "The file itself", **_stored, shape=Shape.CONTENT,
         reply=ReplyKind.BYTES),
)  # fmt: skip

_sent: Rest = {"group": "uploads", "service": Service.UPLOADS, "permission": Permission.FILES}
_UPLOADS = (
    _json("/v1/uploads", "Begin an upload in parts", **_sent, shape=Shape.UPLOAD,
          bucket=Bucket.FILE, close=Close.JOB, creates=ObjectKind.UPLOAD),
    Route("GET", "/v1/uploads", "Your uploads", "uploads", permission=Permission.FILES,
          local="uploads"),
    Route("GET", "/v1/uploads/{upload_id}", "An upload's state", "uploads",
          permission=Permission.FILES, local="upload"),
    _form("/v1/uploads/{upload_id}", "Add a part, under its older name", **_sent,
          sent_to="uploads/{upload_id}/parts",
          **PART, creates=ObjectKind.PART),
    _form("/v1/uploads/{upload_id}/parts", "Add a part", **_sent, **PART,
          creates=ObjectKind.PART),
    _json("/v1/uploads/{upload_id}/complete", "Make the parts a file", **_sent,
          creates=ObjectKind.FILE),
    _post("/v1/uploads/{upload_id}/cancel", "Give the upload up", **_sent),
)  # fmt: skip

_helper: Rest = {"group": "assistants", "service": Service.ASSISTANTS, "beta": True}
_ASSISTANTS = (
    _json("/v1/assistants", "An assistant", **_helper, creates=ObjectKind.ASSISTANT),
    _get("/v1/assistants", "Your assistants", **_helper, lists=ObjectKind.ASSISTANT),
    _get("/v1/assistants/{assistant_id}", "An assistant", **_helper),
    _json("/v1/assistants/{assistant_id}", "Change it", **_helper),
    Route("PATCH", "/v1/assistants/{assistant_id}", "Change it", **_helper,
          body=BodyKind.JSON, body_limit=SMALL),
    _delete("/v1/assistants/{assistant_id}", "Delete it", **_helper),
)  # fmt: skip

_talk: Rest = {"group": "threads", "service": Service.THREADS, "beta": True}
_run = partial(
    _json, **_talk, body_limit=TEXT, shape=Shape.RUN, modality=Modality.TEXT,
    reply=ReplyKind.STREAM, close=Close.JOB, creates=ObjectKind.RUN, nameless=True,
)  # fmt: skip
_MESSAGE = "/v1/threads/{thread_id}/messages/{message_id}"
_RUN = "/v1/threads/{thread_id}/runs/{run_id}"
_THREADS = (
    _json("/v1/threads", "A thread", **_talk, body_limit=TEXT, creates=ObjectKind.THREAD),
    _run("/v1/threads/runs", "A thread, and its first run"),
    _get("/v1/threads/{thread_id}", "A thread", **_talk),
    _json("/v1/threads/{thread_id}", "Change it", **_talk),
    Route("PATCH", "/v1/threads/{thread_id}", "Change it", **_talk,
          body=BodyKind.JSON, body_limit=SMALL),
    _delete("/v1/threads/{thread_id}", "Delete it", **_talk),
    _json("/v1/threads/{thread_id}/messages", "Add a message", **_talk, body_limit=TEXT,
          creates=ObjectKind.MESSAGE),
    _get("/v1/threads/{thread_id}/messages", "Its messages", **_talk),
    _get(_MESSAGE, "A message", **_talk),
    _json(_MESSAGE, "Change its metadata", **_talk),
    Route("PATCH", _MESSAGE, "Change its metadata", **_talk, body=BodyKind.JSON,
          body_limit=SMALL),
    _delete(_MESSAGE, "Delete it", **_talk),
    _run("/v1/threads/{thread_id}/runs", "Run an assistant on a thread"),
    _get("/v1/threads/{thread_id}/runs", "Its runs", **_talk),
    _get(_RUN, "A run's state", **_talk),
    _json(_RUN, "Change its metadata", **_talk),
    Route("PATCH", _RUN, "Change its metadata", **_talk, body=BodyKind.JSON, body_limit=SMALL),
    _post(_RUN + "/cancel", "Cancel it", **_talk),
    _json(_RUN + "/submit_tool_outputs", "Give it what its tools said", **_talk,
          body_limit=TEXT, reply=ReplyKind.STREAM),
    _get(_RUN + "/steps", "Its steps", **_talk),
    _get(_RUN + "/steps/{step_id}", "A step", **_talk),
)  # fmt: skip

_bulk: Rest = {"group": "batches", "service": Service.BATCHES}
_BATCHES = (
    _json("/v1/batches", "Begin a batch", **_bulk, shape=Shape.BATCH, modality=Modality.TEXT,
          nameless=True, close=Close.JOB, creates=ObjectKind.BATCH),
    _get("/v1/batches", "Your batches", **_bulk, lists=ObjectKind.BATCH),
    _get("/v1/batches/{batch_id}", "A batch's state", **_bulk),
    _post("/v1/batches/{batch_id}/cancel", "Cancel it", **_bulk),
)  # fmt: skip

_tune: Rest = {"group": "fine_tuning", "service": Service.FINE_TUNING}
_JOB = "/v1/fine_tuning/jobs/{fine_tuning_job_id}"
_SHARED = "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"
_FINE_TUNING = (
    _json("/v1/fine_tuning/jobs", "Begin a fine-tuning", **_tune, shape=Shape.FINE_TUNING,
          modality=Modality.TEXT, bucket=Bucket.TEXT_PRO, close=Close.JOB,
          creates=ObjectKind.FINE_TUNING_JOB),
    _get("/v1/fine_tuning/jobs", "Your fine-tunings", **_tune, lists=ObjectKind.FINE_TUNING_JOB),
    _get(_JOB, "A fine-tuning's state", **_tune),
    _post(_JOB + "/cancel", "Cancel it", **_tune),
    _post(_JOB + "/pause", "Pause it", **_tune),
    _post(_JOB + "/resume", "Go on with it", **_tune),
    _get(_JOB + "/events", "What has happened to it", **_tune),
    _get(_JOB + "/checkpoints", "Its checkpoints", **_tune),
    _get(_SHARED, "Who may use a checkpoint", **_tune),
    _json(_SHARED, "Let projects use a checkpoint", **_tune),
    _delete(_SHARED + "/{permission_id}", "Take that back", **_tune),
    _json("/v1/fine_tuning/alpha/graders/run", "Run a grader", **_tune, shape=Shape.GRADER,
          modality=Modality.TEXT, bucket=Bucket.TEXT_PRO, close=Close.RESPONSE, nameless=True),
    _json("/v1/fine_tuning/alpha/graders/validate", "Whether a grader is well formed", **_tune),
    _delete("/v1/models/{model}", "Delete a fine-tuned model of yours", group="models",
            service=Service.MODELS),
)  # fmt: skip

_shelf: Rest = {"group": "vector_stores", "service": Service.VECTOR_STORES, "beta": True}
_STORE = "/v1/vector_stores/{vector_store_id}"
_VECTOR_STORES = (
    _json("/v1/vector_stores", "A vector store", **_shelf, creates=ObjectKind.VECTOR_STORE),
    _get("/v1/vector_stores", "Your vector stores", **_shelf, lists=ObjectKind.VECTOR_STORE),
    _get(_STORE, "A vector store", **_shelf),
    _json(_STORE, "Change it", **_shelf),
    Route("PATCH", _STORE, "Change it", **_shelf, body=BodyKind.JSON, body_limit=SMALL),
    _delete(_STORE, "Delete it", **_shelf),
    _json(_STORE + "/search", "Search in it", **_shelf),
    _json(_STORE + "/files", "Add a file", **_shelf),
    _get(_STORE + "/files", "Its files", **_shelf),
    _get(_STORE + "/files/{file_id}", "A file in it", **_shelf),
    _json(_STORE + "/files/{file_id}", "Change the file's attributes", **_shelf),
    Route("PATCH", _STORE + "/files/{file_id}", "Change the file's attributes", **_shelf,
          body=BodyKind.JSON, body_limit=SMALL),
    _delete(_STORE + "/files/{file_id}", "Take the file out", **_shelf),
    _get(_STORE + "/files/{file_id}/content", "The file's text", **_shelf),
    _json(_STORE + "/file_batches", "Add many files", **_shelf, creates=ObjectKind.FILE_BATCH),
    _get(_STORE + "/file_batches/{file_batch_id}", "How far that is", **_shelf),
    _post(_STORE + "/file_batches/{file_batch_id}/cancel", "Stop that", **_shelf),
    _get(_STORE + "/file_batches/{file_batch_id}/files", "The files of that", **_shelf),
)  # fmt: skip

ROUTES: tuple[Route, ...] = (
    *_LOCAL, *_CHAT, *_RESPONSES, *_VECTORS, *_IMAGES, *_AUDIO, *_VIDEOS, *_FILES, *_UPLOADS,
    *_ASSISTANTS, *_THREADS, *_BATCHES, *_FINE_TUNING, *_VECTOR_STORES,
)  # fmt: skip

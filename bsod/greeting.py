"""What `make run` shows when it answers: where, and on the first run the secrets, once."""

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bsod.bootstrap import Welcome

_RULE = "─" * 78


def greeting(site: str, welcome: "Welcome | None", model: str | None) -> str:
    """Rules above and below only: what is inside can be selected and pasted as it is."""
    first = _first_time(site, welcome, model) if welcome else [f"Admin: {site}/admin/"]
    if not model:
        first += ["No provider yet: set OPENAI_API_KEY, or see `manage.py add_provider --help`."]
    lines = [f"BSOD answers at {site}/v1", *first, "", "Ctrl-C stops everything."]
    return "\n".join([_RULE, *lines, _RULE])


def _first_time(site: str, welcome: "Welcome", model: str | None) -> list[str]:
    return [
        "",
        "Shown once, keep them:",
        f"  admin at {site}/admin/   {welcome.username} / {welcome.password}",
        f"  API key   {welcome.key}",
        "",
        *(["Try it:", *curl(site, welcome.key, model)] if model else []),
    ]


def curl(site: str, key: str, model: str) -> list[str]:
    """A request that works when pasted, whatever a provider calls its models."""
    body = {"model": model, "messages": [{"role": "user", "content": "Привет"}], "max_tokens": 64}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return [
        f'curl {site}/v1/chat/completions -H "Authorization: Bearer {key}" \\',
        '     -H "Content-Type: application/json" \\',
        f"     -d {shlex.quote(text)}",
    ]

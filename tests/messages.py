"""The Russian catalogue: what must be in it, what is missing, and its compiled twin.

    python -m tests.messages        add what is missing to django.po (to be translated), and compile

Needs no gettext on the machine. What is said through a variable (the words of the route table and
of the list of errors) is collected from there.
"""

import ast
import os
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "locale" / "ru" / "LC_MESSAGES" / "django.po"
FOLDERS = ("accounts", "bsod", "promos", "proxy", "quotas")
# Django's own rule for Russian, of four forms: one, few, many, other.
FORMS = 4
HEAD = (
    "Content-Type: text/plain; charset=UTF-8\n"
    "Content-Transfer-Encoding: 8bit\n"
    "Language: ru\n"
    "Plural-Forms: nplurals=4; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && "
    "(n%100<12 || n%100>14) ? 1 : n%10==0 || (n%10>=5 && n%10<=9) || (n%100>=11 && n%100<=14)"
    "? 2 : 3);\n"
)
# How the functions of gettext are called, and which of their arguments are what.
_PLAIN = {"_", "gettext", "gettext_lazy", "gettext_noop"}
_CONTEXT = {"pgettext", "pgettext_lazy"}
_PLURAL = {"ngettext", "ngettext_lazy"}
_NPCONTEXT = {"npgettext", "npgettext_lazy"}

Key = tuple[str, str, str]
"""(context, text, plural); "" for none."""


@dataclass
class Entry:
    key: Key
    said: list[str] = field(default_factory=list)
    fuzzy: bool = False


# ---- what must be in it


def wanted() -> set[Key]:
    """Every text of ours that can be translated."""
    found: set[Key] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(in_code(path.read_text(encoding="utf-8")))
    for path in (ROOT / "templates").rglob("*.*"):
        code = templatize(path.read_text(encoding="utf-8"), origin=str(path))
        found |= set(in_template(code))
    return {key for key in found | in_tables() if key[1]}


def in_code(text: str) -> Iterator[Key]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            words = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
            if key := _key(node.func.id, words):
                yield key


def _key(name: str, words: list[object]) -> Key | None:
    texts = [word if isinstance(word, str) else "" for word in words] + ["", "", ""]
    if name in _PLAIN:
        return ("", texts[0], "")
    if name in _CONTEXT:
        return (texts[0], texts[1], "")
    if name in _PLURAL:
        return ("", texts[0], texts[1])
    return (texts[0], texts[1], texts[2]) if name in _NPCONTEXT else None


_WORD = re.compile(r"u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", re.S)


def in_template(code: str) -> Iterator[Key]:
    """What Django makes of a template for gettext: calls with plain texts in them."""
    for name, inside in re.findall(
        r"\b(gettext|ngettext|pgettext|npgettext|_)\(((?:\s*u?(?:'(?:[^'\\]|\\.)*'|"
        r'"(?:[^"\\]|\\.)*")\s*,?|\s*count\s*)+)\)', code, re.S
    ):  # fmt: skip
        words = [ast.literal_eval(word) for word in _WORD.findall(inside)]
        if key := _key(name, words):
            yield key


def in_tables() -> set[Key]:
    from bsod.lib.terms import ObjectKind
    from proxy import docs
    from proxy.errors import ERRORS
    from proxy.routes import ROUTES

    texts = {route.summary for route in ROUTES} | {kind.meaning for kind in ERRORS.values()}
    texts |= {docs.title(name) for name in docs.grouped(ROUTES)}
    used = {kind for route in ROUTES for kind in (route.owns, route.creates) if kind}
    texts |= {str(kind).replace("_", " ") for kind in ObjectKind if kind in used}
    return {("", text, "") for text in texts}


# ---- what is in it


_LINE = re.compile(r'^(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) "(.*)"$')


def read(path: Path = CATALOGUE) -> list[Entry]:
    """The entries of a .po file; its head is the one of ("", "", "")."""
    entries: list[Entry] = []
    parts: dict[str, str] = {}
    last, fuzzy = "", False
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in [*lines, ""]:
        if match := _LINE.match(line):
            last = match[1]
            parts[last] = _plain(match[2])
        elif line.startswith('"') and last:
            parts[last] += _plain(line[1:-1])
        elif line.startswith("#,"):
            fuzzy = "fuzzy" in line
        elif not line.strip() and parts:
            key = (parts.get("msgctxt", ""), parts["msgid"], parts.get("msgid_plural", ""))
            said = [text for name, text in parts.items() if name.startswith("msgstr")]
            entries.append(Entry(key, said, fuzzy))
            parts, last, fuzzy = {}, "", False
    return entries


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t"}.get(m[1], m[1]), text)


def _quoted(text: str) -> str:
    inside = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inside}"'


def write(entries: list[Entry], path: Path = CATALOGUE) -> None:
    blocks = []
    for entry in entries:
        context, text, plural = entry.key
        lines = [f"msgctxt {_quoted(context)}"] if context else []
        lines.append(f"msgid {_quoted(text)}")
        if plural:
            said = [*entry.said, *[""] * FORMS][:FORMS]
            lines.append(f"msgid_plural {_quoted(plural)}")
            lines += [f"msgstr[{n}] {_quoted(form)}" for n, form in enumerate(said)]
        else:
            lines.append(f"msgstr {_quoted(entry.said[0] if entry.said else '')}")
        blocks.append("\n".join(lines))
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def compiled(entries: list[Entry]) -> bytes:
    """The same as a .mo file: two sorted tables of places, then the texts."""
    pairs = []
    for entry in entries:
        context, text, plural = entry.key
        known = (f"{context}\x04" if context else "") + text + (f"\0{plural}" if plural else "")
        if all(entry.said) and not entry.fuzzy:
            pairs.append((known.encode(), "\0".join(entry.said).encode()))
    pairs.sort()
    count = len(pairs)
    at = 28 + 16 * count
    tables: list[list[int]] = [[], []]
    texts = b""
    for side in (0, 1):
        for pair in pairs:
            tables[side] += [len(pair[side]), at + len(texts)]
            texts += pair[side] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, at)
    return head + struct.pack(f"<{4 * count}I", *tables[0], *tables[1]) + texts


def missing(entries: list[Entry]) -> list[Key]:
    """What is in no entry, or in one that says nothing."""
    said = {entry.key for entry in entries if entry.said and all(entry.said) and not entry.fuzzy}
    return sorted(wanted() - said)


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bsod.settings")
    import django

    django.setup()
    entries = read() or [Entry(("", "", ""), [HEAD])]
    known = {entry.key for entry in entries}
    entries += [Entry(key) for key in missing(entries) if key not in known]
    write(entries)
    CATALOGUE.with_suffix(".mo").write_bytes(compiled(entries))
    left = missing(entries)
    print(f"{len(entries)} entries, {len(left)} without Russian words")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

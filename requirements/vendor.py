"""Re-creates `static/vendor/` from npm, by name and version.

    python requirements/vendor.py            make everything again, then compare with SHA256SUMS

Needs npm on PATH; fonttools, brotli and esbuild are installed into a folder of its own. Nothing of
what it makes names another host. Of each package only what is used comes along: a first visit may
cost 120 KB. beercss goes into a layer, so that a page's plain CSS wins over it; fonts are cut to
the letters, weights and icons in use; Chart.js to its bars and lines.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent / "static" / "vendor"
TOOLS = ("fonttools==4.68.0", "brotli==1.2.1")
BUNDLER = "esbuild@0.25.12"
PACKAGES = {
    "beercss": "beercss@5.0.3",
    "roboto": "@fontsource-variable/roboto@5.3.0",
    "mono": "@fontsource/roboto-mono@5.3.0",
    "chart": "chart.js@4.6.1",
    "color": "@kurkle/color@0.3.4",
    "marked": "marked@18.2.1",
    "purify": "dompurify@3.4.18",
    "highlight": "@highlightjs/cdn-assets@11.12.0",
}
# Files for the playground alone, taken as they are: (folder, file of the package, its name here).
COPIED = {
    "marked": ("marked-18.2.1", "lib/marked.esm.js", "marked.js"),
    "purify": ("dompurify-3.4.18", "dist/purify.min.js", "purify.js"),
    "highlight": ("highlight.js-11.12.0", "es/highlight.min.js", "highlight.js"),
}
# Parts of beercss, in its own order: the rest is for layouts and fields that are drawn otherwise.
BEER = ["settings/global"] + [
    f"elements/{name}"
    for name in [
        "button",
        "chip",
        "dialog",
        "expansion",
        "icon",
        "progress",
        "selection",
        "snackbar",
        "table",
        "typography",
    ]
]
CHARTS = """
import { BarController, BarElement, CategoryScale, Chart, LinearScale, LineController, LineElement,
  PointElement, Tooltip } from "chart.js";
Chart.register(BarController, BarElement, CategoryScale, LinearScale, LineController, LineElement,
  PointElement, Tooltip);
globalThis.Chart = Chart;
"""
ICONS = [
    "add", "api", "attach_file", "bar_chart", "block", "bolt", "category", "check",
    "chevron_right", "close", "code", "compare_arrows", "content_copy", "contrast", "delete",
    "download", "draft", "edit", "error", "expand_more", "forum", "graphic_eq", "image", "info",
    "key", "lock", "logout", "menu_book", "monitoring", "more_vert", "movie", "notes",
    "passkey", "person", "play_arrow", "psychology", "redeem", "refresh", "schedule", "search",
    "send", "smart_display", "stop", "toll", "tune", "videocam", "visibility",
    "volunteer_activism", "warning",
]  # fmt: skip
WEIGHTS = (400, 600)
LETTERS = {"latin": None, "cyrillic": [0x301, *range(0x400, 0x460), 0x490, 0x491, 0x2116]}
CODE = [*range(0x20, 0x7F), 0xB7, 0x2013, 0x2026]
# Everything about other hosts goes; shapes and the other icon sets are not used.
FACE = re.compile(r"@font-face\{[^}]*\}")
FOREIGN = re.compile(r"url\((?!data:)[^)]*\)")


def main() -> int:
    if "cut" in sys.argv[1:2]:
        cut_fonts(Path(sys.argv[2]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        got = {name: fetch(package, Path(folder) / name) for name, package in PACKAGES.items()}
        beercss(got["beercss"])
        chart(got["chart"], got["color"], Path(folder))
        for name in COPIED:
            copied(name, got[name])
        python = tools(Path(folder) / "venv")
        run(python, __file__, "cut", folder)
    return compare()


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own words


def fetch(package: str, into: Path) -> Path:
    """Unpack a package; npm itself checks what it has downloaded."""
    into.mkdir()
    npm = shutil.which("npm")
    assert npm, "npm is needed on PATH"
    run(npm, "pack", "--silent", "--pack-destination", str(into), package)
    shutil.unpack_archive(next(into.glob("*.tgz")), into, filter="data")
    return into / "package"


def tools(into: Path) -> str:
    venv.create(into, with_pip=True)
    python = str(into / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", *TOOLS)
    return python


def place(name: str, licence: Path) -> Path:
    """The folder of a package, empty but for its licence."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "LICENSE").write_bytes(licence.read_bytes())
    return folder


def beercss(package: Path) -> None:
    parts = package / "dist" / "cdn"
    text = "".join((parts / f"{part}.min.css").read_text(encoding="utf-8") for part in BEER)
    text = FOREIGN.sub("none", FACE.sub("", text))
    assert "http" not in text
    folder = place("beercss-5.0.3", package / "LICENSE")
    (folder / "beer.css").write_text(f"@layer beer{{{text}}}\n", encoding="utf-8")


def chart(package: Path, color: Path, work: Path) -> None:
    """One file for a plain script tag, with what the pages draw and no more."""
    modules = work / "bundle" / "node_modules"
    shutil.copytree(package, modules / "chart.js")
    shutil.copytree(color, modules / "@kurkle" / "color")
    (work / "bundle" / "charts.js").write_text(CHARTS, encoding="utf-8")
    quiet = ("--silent", "--no-audit", "--no-fund", "--prefix", str(work / "es"))
    run("npm", "install", *quiet, BUNDLER)
    folder = place("chart.js-4.6.1", package / "LICENSE.md")
    made = folder / "chart.js"
    esbuild = work / "es" / "node_modules" / ".bin" / "esbuild"
    options = ["--bundle", "--minify", "--format=iife", "--log-level=warning"]
    charts = work / "bundle" / "charts.js"
    run(str(esbuild), str(charts), *options, f"--outfile={made}")


def copied(name: str, package: Path) -> None:
    folder, file, made = COPIED[name]
    text = (package / file).read_text(encoding="utf-8")
    # Its map stays behind; a browser would look for it.
    text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.M).rstrip()
    (place(folder, package / "LICENSE") / made).write_text(text + "\n", encoding="utf-8")


def cut_fonts(packages: Path) -> None:
    files = packages / "roboto" / "package"
    folder = place("roboto-5.3.0", files / "LICENSE")
    for part in ("latin", "cyrillic"):
        source = files / "files" / f"roboto-{part}-wght-normal.woff2"
        axes = {"wght": (WEIGHTS[0], WEIGHTS[0], WEIGHTS[1])}
        made = folder / f"roboto-{part}.woff2"
        cut(source, made, axes, features=["kern", "tnum"], unicodes=LETTERS[part])
    files = packages / "mono" / "package"
    folder = place("roboto-mono-5.3.0", files / "LICENSE")
    source = files / "files" / "roboto-mono-latin-400-normal.woff2"
    cut(source, folder / "roboto-mono.woff2", {}, unicodes=CODE)
    files = packages / "beercss" / "package"
    folder = HERE / "beercss-5.0.3"
    source = files / "dist" / "cdn" / "material-symbols-rounded.woff2"
    cut(source, folder / "icons.woff2", {}, icons=ICONS, features=["liga", "rlig"])


def cut(source: Path, made: Path, axes: Mapping[str, object], icons: list[str] | None = None,
        features: list[str] | None = None, unicodes: list[int] | None = None) -> None:  # fmt: skip
    # They are in the venv of this run alone.
    subset, instancer = (import_module(f"fontTools.{n}") for n in ("subset", "varLib.instancer"))
    TTFont = import_module("fontTools.ttLib").TTFont

    font = TTFont(source, recalcTimestamp=False)
    options = subset.Options()
    options.layout_features = features or []
    options.hinting = False
    # A ligature spells each icon: with closure the letters would bring all of them.
    options.layout_closure = not icons
    cmap = font.getBestCmap()
    subsetter = subset.Subsetter(options)
    if icons:
        spelt = [cmap[ord(letter)] for letter in sorted(set("".join(icons)))]
        drawn = ligatures(font)
        subsetter.populate(glyphs=[*(drawn[icon] for icon in icons), *spelt])
    else:
        subsetter.populate(unicodes=[u for u in unicodes or cmap if u in cmap and u != 0xFEFF])
    subsetter.subset(font)
    if axes:
        font = instancer.instantiateVariableFont(font, axes)
    font.flavor = "woff2"
    font.save(made, reorderTables=None)


def ligatures(font: Any) -> dict[str, str]:
    """The glyph of each name: some icons have several, and the glyph only one of them."""
    letter = {glyph: chr(code) for code, glyph in font.getBestCmap().items()}
    found = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, group in getattr(table, "ligatures", {}).items():
                for each in group:
                    word = "".join(letter.get(part, "?") for part in (first, *each.Component))
                    found[word] = each.LigGlyph
    return found


def compare() -> int:
    """Write the list of checksums; say which differ from those there were."""
    sums = HERE / "SHA256SUMS"
    known = sums.read_text(encoding="utf-8") if sums.exists() else ""
    files = sorted(path for path in HERE.rglob("*") if path.is_file() and path != sums)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(HERE).as_posix()}"
        for path in files
    ]
    sums.write_text("\n".join(lines) + "\n", encoding="utf-8")
    changed = [line for line in lines if line not in known.splitlines()]
    print("\n".join(["Changed:", *changed]) if changed else "As it was.")
    return 1 if changed and known else 0


if __name__ == "__main__":
    sys.exit(main())

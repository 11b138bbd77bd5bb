"""``python -m bench.pages``: every page of the console, with 10 000 models in the catalogue.

A throwaway SQLite database, one worker, and somebody with 10 000 calls. Of each page: the server's
time (the processor's, which a busy machine changes least: at the first request, the best of some
more, and the middle of those right after the pool has changed; and the best by the clock), what a
browser fetches at a first visit, as it travels, and the first contentful paint in Chromium, with an
empty cache and with a full one. Exit 1: a page breaks a bar of the console.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

ROOT = Path(__file__).resolve().parent.parent
MODELS, PROVIDERS, CALLS = 10_000, 20, 10_000
PAINT_MS, SERVER_MS, MOST_KB = 500, 150, 120
ROUNDS, CHANGES = 5, 3
GUEST = ("/", "/login/", "/register/", "/forgot-password/", "/models/", "/playground/", "/docs/",
         "/docs/chat/", "/docs/api/", "/status/", "/support/", "/nope/")  # fmt: skip
MEMBER = ("/", "/access/", "/access/new/", "/models/", "/models/?provider=provider-3",
          "/models/?q=model-17", "/playground/", "/playground/catalog/", "/docs/", "/docs/chat/",
          "/usage/", "/usage/?by=model", "/support/", "/status/", "/account/", "/account/email/",
          "/account/security/", "/account/sessions/")  # fmt: skip
DATA = ("/playground/catalog/",)
"""What a page's script reads: it has a server's time and nothing else."""
_FCP = """new Promise(done => { const seen = () => performance.getEntriesByName(
  'first-contentful-paint')[0]?.startTime; if (seen()) return done(seen());
  new PerformanceObserver(() => seen() && done(seen())).observe({type: 'paint', buffered: true});
  setTimeout(() => done(-1), 5000) })"""


class Row(NamedTuple):
    """Of one page; times in ms, None: not measured. Up to `changed` they are the processor's."""

    name: str
    status: int
    first: float
    server: float
    changed: float
    """The middle of the reads right after a change of the pool."""
    clock: float
    cold: float | None = None
    warm: float | None = None
    kb: float | None = None

    def breaks(self) -> str:
        bars = (
            ("first", self.first, SERVER_MS), ("server", self.server, SERVER_MS),
            ("changed", self.changed, SERVER_MS),
            ("cold paint", self.cold, PAINT_MS), ("warm paint", self.warm, PAINT_MS),
            ("size", self.kb, MOST_KB),
        )  # fmt: skip
        wrong = [name for name, value, most in bars if value is not None and not 0 <= value < most]
        expected = 404 if self.name.endswith("/nope/") else 200
        return ", ".join([*wrong, *([str(self.status)] if self.status != expected else [])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="pages whose address has this in it")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        return measure(asked.only)
    # In a process and a folder of its own: settings are read once.
    with tempfile.TemporaryDirectory(prefix="bsod-pages-") as folder:
        env = {**os.environ, "DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "bsod.settings",
               "LOCAL_MODEL": "off", "LOG_LEVEL": "ERROR"}  # fmt: skip
        env.pop("DATABASE_URL", None)
        command = [sys.executable, "-m", "bench.pages", "--here", f"--only={asked.only}"]
        return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def measure(only: str) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    cookie = fill()
    from tests import kit
    from tests.bsod.chromium import browser

    site = kit.launch(workers=1, WARM_UP="on")
    try:
        with browser() as chromium:
            visits = [
                (cookie, tuple(path for path in paths if only in path))
                for cookie, paths in (("", GUEST), (cookie, MEMBER))
            ]
            return table(row for who, paths in visits for row in seen(site, chromium, who, paths))
    finally:
        site.stop()


def table(rows: Iterator[Row]) -> int:
    heads = (
        f"first < {SERVER_MS}",
        "server",
        "changed",
        "by the clock",
        f"cold < {PAINT_MS}",
        "warm",
        f"KB < {MOST_KB}",
    )
    print(f"{'page':34}" + "".join(f"{head:>14}" for head in heads), flush=True)
    broken = 0
    for row in rows:
        cells = (row.first, row.server, row.changed, row.clock, row.cold, row.warm, row.kb)
        told = "".join(f"{'–' if cell is None else f'{cell:.0f}':>14}" for cell in cells)
        print(f"{row.name:34}{told}  {row.breaks()}", flush=True)
        broken += bool(row.breaks())
    print(f"load {os.getloadavg()[0]:.1f}; bars: {'broken' if broken else 'hold'}", flush=True)
    return 1 if broken else 0


# ---- what is measured


def seen(site: Any, chromium: Any, cookie: str, paths: tuple[str, ...]) -> Iterator[Row]:
    from django.conf import settings

    url, worker = site.url, site.workers()[0]
    page = chromium.page(apart=True)
    page.shape(1440, 900)
    cookies = {settings.SESSION_COOKIE_NAME: cookie} if cookie else {}
    for name, value in cookies.items():
        page.do("Network.setCookie", name=name, value=value, url=url)
    for path in paths:
        row = served(url + path, cookies, worker)._replace(name=f"{'in ' if cookie else ''}{path}")
        if path not in DATA:
            cold, warm, kb = painted(page, url + path, cookies)
            row = row._replace(cold=cold, warm=warm, kb=kb)
        yield row


def cpu(process: int) -> float:
    """Milliseconds of a processor that all threads of a process have had, those that ended too."""
    return time.clock_gettime((~process << 3) | 2) * 1000  # as clock_getcpuclockid(3) says it


def served(address: str, cookies: dict[str, str], worker: int) -> Row:
    """What it costs until the page is there, whole."""
    import requests

    from proxy.pool import bump

    with requests.Session() as session:
        session.headers["Accept"] = "text/html"
        session.cookies.update(cookies)

        def once() -> tuple[float, float, int]:
            began, before = time.perf_counter(), cpu(worker)
            status = session.get(address, timeout=30).status_code
            return cpu(worker) - before, (time.perf_counter() - began) * 1000, status

        first = once()
        more, changed = [once() for _ in range(ROUNDS)], []
        for _ in range(CHANGES):
            bump()
            changed.append(once()[0])
            time.sleep(1.0)  # the new reading is there
        # A page that does not look at the pool would leave its reading to the page after it.
        session.get(urljoin(address, "/catalog/"), timeout=30)
        best, by_clock = min(one[0] for one in more), min(one[1] for one in more)
        return Row(address, first[2], first[0], best, statistics.median(changed), by_clock)


def painted(page: Any, address: str, cookies: dict[str, str]) -> tuple[float, float, float]:
    page.asked.clear()
    page.do("Network.clearBrowserCache")
    cold = paint(page, address)
    page.js("document.fonts.ready.then(() => 1)")
    kb = sum(size(each, cookies) for each in set(page.asked) if each.startswith("http")) / 1000
    return cold, min(paint(page, address) for _ in range(3)), kb


def paint(page: Any, address: str) -> float:
    """Milliseconds from the click to the first thing that is drawn, as the browser says."""
    page.open("about:blank")
    page.open(address)
    return float(page.js(_FCP))


def size(address: str, cookies: dict[str, str]) -> int:
    """Bytes of an answer as it travels."""
    import requests

    headers = {"Accept": "text/html", "Accept-Encoding": "br, gzip"}
    with requests.get(address, headers=headers, cookies=cookies, stream=True, timeout=30) as answer:
        return len(answer.raw.read(decode_content=False))


# ---- rows


def fill() -> str:
    """A large catalogue and somebody who has called it; the key of his session."""

    from bsod.lib import clock, ids
    from proxy.pool import bump
    from quotas.models import Entry, UsageDay
    from tests import kit

    for number in range(PROVIDERS):
        shelf(number)
    who = kit.person("caller")
    now, day = clock.now(), clock.day_of(clock.now())
    mine: dict[str, Any] = {"account": who.account, "api_key": who.key, "bucket": "text.base"}
    Entry.objects.bulk_create(
        [
            Entry(id=ids.ulid()[:-5] + f"{n:05d}", day=day, state="settled", amount=7, status=200,
                  closed_at=now, model=f"model-{n % 40}-1", **mine)
            for n in range(CALLS)
        ]
    )  # fmt: skip
    UsageDay.objects.bulk_create(
        [UsageDay(day=day, calls=3, amount=21, model=f"model-{n}-1", **mine) for n in range(CALLS)]
    )
    bump()
    return kit.session_of(who.account)


def shelf(number: int) -> None:
    """A provider with its part of the models; one in seven has no key that works."""
    from proxy.models import Model, Offer, Provider, ProviderKey, Rest
    from proxy.pool import vault

    provider = Provider.objects.create(
        slug=f"provider-{number}", kind="compatible", base_url="http://127.0.0.1:9/v1"
    )
    secret = f"sk-pages-{number}"
    key = ProviderKey(provider=provider, fingerprint=vault().fingerprint(secret), last4="ages")
    key.sealed = vault().seal(key.uid, secret)
    key.save()
    if number % 7 == 6:
        Rest.objects.create(provider=provider, key=key, reason="auth")
    models = Model.objects.bulk_create(
        [
            Model(name=f"model-{number}-{n}", context_window=128_000, max_output=16_384,
                  tier="pro" if n % 5 == 0 else "base")
            for n in range(MODELS // PROVIDERS)
        ]
    )  # fmt: skip
    Offer.objects.bulk_create(
        [Offer(model=model, provider=provider, upstream_id=model.name) for model in models]
    )


if __name__ == "__main__":
    sys.exit(main())

"""The page of `/status/`: what it says of a good and of a bad day, and how it looks to people."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils.translation import override

from bsod import drawing, statuspage
from bsod.lib import clock
from bsod.standing import Health, ProviderStanding, Standing
from proxy import stats
from proxy.figures import KEY_STATES, Tally
from proxy.histogram import bucket
from proxy.models import Stat
from proxy.stats import Key, Step
from tests import kit
from tests.bsod.chromium import Chromium, Page, browser
from tests.kit import Site, unique
from tests.upstream import FaultServer

pytestmark = pytest.mark.once
NOW = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)
SMALL = """[...document.querySelectorAll('a, button, input, summary')]
  .filter(e => e.checkVisibility() && !e.closest('.skip'))
  .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
  .filter(([, box]) => box.height < 43.5 || box.width < 43.5).map(([text]) => text)"""
WIDE = """[...document.querySelectorAll('main *:not(svg *)')]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 80))"""
LIGHT = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"


def provider(slug: str, reason: str | None = None) -> ProviderStanding:
    since = NOW - timedelta(hours=1) if reason else None
    return ProviderStanding(slug, reason, since, None, dict.fromkeys(KEY_STATES, 0), 1)


def standing(state: Health, *providers: ProviderStanding) -> Standing:
    return Standing(state, providers, 10, 8, False)


# ---- words and numbers


@pytest.mark.parametrize(
    ("now", "head", "detail"),
    [
        (standing(Health.OK, provider("a"), provider("b")), "Everything answers.",
         "2 of 2 providers answer."),
        (standing(Health.DEGRADED, provider("a"), provider("b", "all api keys died")),
         "Mostly working. b is out.",
         "All api keys died, since 22 Nov, 05:30 UTC. 1 of 2 providers answers."),
        (standing(Health.DEGRADED, provider("a"), provider("b", "x"), provider("c", "y")),
         "Mostly working. 2 providers are out.", "1 of 3 providers answer."),
        (standing(Health.DEGRADED, provider("a")), "Mostly working. Some calls fail.",
         "1 of 1 provider answers."),
        (standing(Health.DOWN, provider("a", "x")), "Nothing answers.",
         "X, since 22 Nov, 05:30 UTC. 0 of 1 provider answers."),
        (standing(Health.DOWN, provider("a")), "Most calls fail.", "1 of 1 provider answers."),
        (standing(Health.DOWN), "There is no provider yet.", "An admin adds one with its key."),
    ],
)  # fmt: skip
def test_the_first_sentence_says_how_it_is(now: Standing, head: str, detail: str) -> None:
    assert statuspage.headline(now) == head
    assert statuspage.detail(now).replace("answers", "answer") == detail.replace(
        "answers", "answer"
    )


def test_where_nobody_answers_yet_the_page_says_what_to_do() -> None:
    text = statuspage.board(standing(Health.DOWN), "24h", "en", NOW - timedelta(days=4000))
    assert "manage.py add_provider" in text
    assert 'class="face so-so"' in text
    assert 'aria-label="There is no provider yet."' in text


def test_a_month_is_written_as_its_language_writes_it() -> None:
    assert drawing.moment(NOW) == "22 Nov, 06:30 UTC"
    with override("ru"):
        assert drawing.moment(NOW) == "22 ноя, 06:30 UTC"


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "–"), (1.0, "100 %"), (0.9994, "99.94 %"), (0.986, "98.6 %"), (0.0, "0 %"),
     (0.99999, "99.99 %")],
)  # fmt: skip
def test_a_share_is_never_rounded_up_to_all(share: float | None, said: str) -> None:
    assert drawing.percent(share).replace(drawing.THIN, " ") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.0042, "4.2 ms"), (0.064, "64 ms"), (0.6437, "640 ms"), (1.7234, "1 720 ms")],
)
def test_a_time_has_three_figures(seconds: float | None, said: str) -> None:
    assert drawing.milliseconds(seconds).replace(drawing.THIN, " ") == said


def test_a_bar_says_by_its_height_what_it_says_by_its_colour() -> None:
    def day(**by_status: int) -> Tally:
        tally = Tally()
        tally.by_status.update({name.removeprefix("s"): n for name, n in by_status.items()})
        return tally

    days = [("1", day(s2xx=1000, s404=500)), ("2", day(s2xx=9, scut=1)), ("3", day(s5xx=9)),
            ("4", None), ("5", day(s401=5))]  # fmt: skip
    found = drawing.bars(days, 6, 32)
    assert [bar.look for bar in found] == ["ok", "slow", "down", "none", "none"]
    heights = [bar.height for bar in found]
    assert heights[0] > heights[1] > heights[2] > 0
    assert [bar.x for bar in found] == [0, 6, 12, 18, 24]
    assert found[3].words == "4: no calls"


def test_a_line_has_gaps_where_nothing_was_called() -> None:
    hours = [NOW + timedelta(hours=n) for n in range(24)]
    rows = []
    for at in (*hours[:5], hours[10]):
        cell = [0] * stats.WIDTH
        cell[0] = cell[stats.FIRST + bucket(0.64)] = 10
        rows.append(drawing.Counted(at, Key("r", "p", "m", "2xx"), cell))
    chart = drawing.chart(rows, hours)
    assert chart is not None
    assert len(chart.p50) == 2
    assert len(chart.p50[0].split()) == 5
    assert [row[1] for row in chart.rows].count("–") == 18
    assert drawing.chart([], hours) is None


# ---- in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with browser() as running:
        yield running


@pytest.fixture
def seen(up: FaultServer) -> Iterator[str]:
    """A route that was called on many days, at a provider and of a model with long names."""
    supplied = kit.supply(up, model=unique("a-model-whose-name-goes-on-and-on-as-some-do"))
    route, now = unique("GET /r"), stats.beginning(Step.MINUTE, clock.now())
    cells = {}
    for age in (*range(24), *range(24, 2000, 100)):
        for status in ("2xx", "5xx"):
            cell = [0] * stats.WIDTH
            cell[0] = cell[stats.LATENCY + age % 12] = cell[stats.FIRST + age % 10] = 50
            key = Key(route, supplied.provider.slug, supplied.model, status)
            cells[now - timedelta(hours=age), key] = cell
    stats.add(cells)
    yield route
    Stat.objects.filter(route=route).delete()


@pytest.mark.timeout(600)  # Chromium may have to be installed first
def test_it_fits_the_window_the_finger_and_the_night(
    site: Site, chromium: Chromium, seen: str, tmp_path: Path
) -> None:
    """What it looked like stays in pytest's folder: `--basetemp=FOLDER` keeps it."""
    page: Page = chromium.page()
    page.scripts(False)
    kit.eventually(lambda: page.open(f"{site.url}/status/?window=7d") or _says(page, seen), 8, 0.5)
    assert _says(page, seen)
    assert page.js("document.querySelectorAll('.bars, .chart').length") > 3
    unnamed = "[...document.querySelectorAll('svg[role=img]')].filter(e => !e.ariaLabel).length"
    assert page.js(unnamed) == 0
    for width, height in ((390, 844), (360, 740), (1440, 900)):
        page.shape(width, height, "light")
        assert page.js("document.documentElement.scrollWidth") <= width
        assert page.js(WIDE) == []
        assert page.js(SMALL) == []
        assert page.js(LIGHT) > 3 * 128
        page.picture(tmp_path / f"{width}-light.png")
        page.shape(width, height, "dark")
        assert page.js(LIGHT) < 3 * 128
        page.picture(tmp_path / f"{width}-dark.png")
    assert [url for url in page.asked if not url.startswith(site.url)] == []
    assert page.problems == []


def _says(page: Page, words: str) -> bool:
    return words in str(page.js("document.body.textContent"))

"""The numbers of the byte rule on docs/metering.md are those of the rule as it is."""

import re
from pathlib import Path

import pytest

from proxy.providers.tokens import of_text

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "English": "english.txt", "Russian": "russian.txt", "Chinese": "chinese.txt",
    "Arabic": "arabic.txt", "Hindi": "hindi.txt", "Python": "code.txt", "JSON": "tools.json",
}  # fmt: skip
ROW = re.compile(r"^\| (\w+) \| (\d+) \| (\d+) \| (.*) \|$", re.M)
LOWEST = 97  # per cent of the truth that the page admits


def test_the_page_states_what_the_rule_says_of_the_corpus() -> None:
    rows = {row[1]: row for row in ROW.finditer((ROOT / "docs" / "metering.md").read_text())}
    assert set(FILES) == set(rows), "print the table again: bench/estimate.py"
    for name, file in FILES.items():
        text = (ROOT / "bench" / "corpus" / file).read_text(encoding="utf-8")
        size, rule = int(rows[name][2]), int(rows[name][3])
        assert (size, rule) == (len(text.encode()), of_text(text)), name
        shown = re.findall(r"(\d+) \((\d+) %\)", rows[name][4])
        assert len(shown) == 3
        for real, percent in shown:
            assert int(percent) == round(100 * rule / int(real)) >= LOWEST, name

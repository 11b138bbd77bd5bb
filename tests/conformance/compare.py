"""What the gateway changes: the straight run is the measure, test by test. Pure.

A test is equal when it ends as it did straight: passed, skipped, or failed there too. A user's
test that names somebody else's object is as it should be when he was told 404.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.conformance.groups import Foreign, foreign, group_of
from tests.conformance.relay import Call
from tests.conformance.suite import MISSING, Result

Results = Mapping[str, Result]


@dataclass(frozen=True)
class Difference:
    test: str
    straight: str
    here: str
    why: str


@dataclass(frozen=True)
class Column:
    """One run of one group."""

    passed: int
    failed: int
    skipped: int
    refused: int
    differ: int

    def __str__(self) -> str:
        text = f"{self.passed}/{self.failed}"
        if self.refused:
            text += f" +{self.refused} refused"
        return text + (f"  {self.differ} DIFFER" if self.differ else "")


def differences(straight: Results, here: Results, *, user: bool = False) -> list[Difference]:
    """Every test that ends otherwise than it should, in the order of the straight run."""
    found = []
    for test, before in straight.items():
        now = here.get(test, MISSING)
        if user and (row := refusal(test, before)):
            if now.status != 404:
                wanted = f"404 ({row.reason})"
                found.append(Difference(test, wanted, now.outcome, now.why))
        elif now.outcome != before.outcome:
            why = now.why if now.outcome != "passed" else f"straight: {before.why}"
            found.append(Difference(test, before.outcome, now.outcome, why))
    extra = [test for test in here if test not in straight]
    return found + [Difference(test, "missing", here[test].outcome, "") for test in extra]


def refusal(test: str, straight: Result) -> Foreign | None:
    """Why a user must be refused here; one that fails straight as well proves nothing."""
    return foreign(test) if straight.outcome == "passed" else None


def column(group: str, straight: Results, here: Results, *, user: bool = False) -> Column:
    """The counts of a group; a refusal that had to be is counted apart."""
    mine = {test: result for test, result in here.items() if group_of(test) == group}
    wrong = {found.test for found in differences(straight, here, user=user)}
    refused = {
        test
        for test in mine
        if user and test not in wrong and test in straight and refusal(test, straight[test])
    }
    outcomes = [result.outcome for test, result in mine.items() if test not in refused]
    return Column(
        outcomes.count("passed"), outcomes.count("failed"), outcomes.count("skipped"),
        len(refused), sum(group_of(test) == group for test in wrong),
    )  # fmt: skip


def reached(calls: Sequence[Call], upstream: Sequence[Call]) -> list[str]:
    """Refused calls that the provider saw all the same: more calls there than answers here that
    were no 404. Only of paths that had a 404: a list may ask for each object it shows."""
    refused = {(call.method, call.path) for call in calls if call.status == 404}
    answered = Counter((call.method, call.path) for call in calls if call.status != 404)
    there = Counter((call.method, f"/v1{call.path}") for call in upstream)
    return [
        f"{method} {path}: {there[method, path]} upstream, {answered[method, path]} answered"
        for method, path in sorted(refused)
        if there[method, path] > answered[method, path]
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])

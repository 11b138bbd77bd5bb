"""From rows to medians, from medians to ratios, from ratios to bars and one page. All pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Medians = dict[str, dict[str, float]]

# ---- the bars -----------------------------------------------------------------------------------
# What a full run must reach. The quick form must reach QUICK_SHARE of it wherever time is
# measured: its rounds are few and short, and its machine is shared. Memory does not get slack.
QUICK_SHARE = 0.6
LITELLM_RATIO = 25.0
ADDED_P50_MS = 1.5
ADDED_FSYNCS = 2  # on top of ADDED_P50_MS: a strict ledger waits for the disk twice
STREAM_P99_MS = 50.0
IDLE_MB = 110.0
# The quick form has no LiteLLM to compare with: ours/floor requests a second. It is the bar itself
# (QUICK_SHARE is not applied), set from what the ratio is: 0.027 and more beside the raw relay,
# whose requests/s vary more between machines than ours.
QUICK_FLOOR_RATIO = 0.02

NOISY_PERCENT = 15  # others' CPU from which the page warns; of all cores together

METRICS = {
    "rps": ("loop", "rps"),
    "p99_us": ("loop", "p99_us"),
    "cpu_us": ("loop", "cpu_us_per_request"),
    "big_rps": ("big", "rps"),
    "big_cpu_us": ("big", "cpu_us_per_request"),
    "single_p50_us": ("single", "p50_us"),
    "added_ms": ("single", "added_p50_ms"),
    "streams": ("streams", "complete"),
    "streams_failed": ("streams", "failed"),
    "delay_p50_ms": ("streams", "delay_p50_ms"),
    "delay_p99_ms": ("streams", "delay_p99_ms"),
    "delay_max_ms": ("streams", "delay_max_ms"),
    "chunk_cpu_us": ("streams", "cpu_us_per_chunk"),
    "stream_core": ("streams", "core_percent"),
    "idle_mb": ("idle", "pss_mb"),
}


def medians(rows: Iterable[Row]) -> Medians:
    """Target → metric → the median of its rounds."""
    found: dict[str, dict[str, list[float]]] = {}
    rows = list(rows)
    for metric, (scenario, name) in METRICS.items():
        for row in rows:
            if row["scenario"] == scenario and name in row:
                found.setdefault(row["target"], {}).setdefault(metric, []).append(row[name])
    return {
        target: {metric: statistics.median(values) for metric, values in metrics.items()}
        for target, metrics in found.items()
    }


def ratio(over: Medians, target: str, metric: str) -> float | None:
    """Ours divided by the target's, None where either is missing."""
    ours, theirs = over.get("ours", {}).get(metric), over.get(target, {}).get(metric)
    return ours / theirs if ours is not None and theirs else None


@dataclass(frozen=True)
class Bar:
    """One thing that must hold: ``value`` at least (or at most) ``limit``."""

    what: str
    value: float | None
    limit: float
    at_least: bool
    unit: str = ""

    @property
    def passed(self) -> bool:
        """A value that was not measured does not pass."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """One line: the verdict, what was measured, the bar, and how much is missing."""
        sign, word = (">=", "short") if self.at_least else ("<=", "over")
        bar = f"{sign} {number(self.limit)}{self.unit}"
        if self.value is None:
            return f"FAIL  {self.what}: not measured (bar {bar})"
        text = f"{self.what}: {number(self.value)}{self.unit} (bar {bar})"
        if self.passed:
            return f"pass  {text}"
        gap = abs(self.value - self.limit)
        share = f", {100 * gap / self.limit:.0f} %" if self.limit else ""
        return f"FAIL  {text}: {word} by {number(gap)}{self.unit}{share}"

    def row(self) -> Row:
        """For the results file."""
        return {
            "what": self.what,
            "value": self.value,
            "limit": self.limit,
            "at_least": self.at_least,
            "unit": self.unit,
            "passed": self.passed,
        }


def bars(over: Medians, fsync_ms: float, quick: bool, targets: Iterable[str]) -> list[Bar]:
    """The bars of this run; none when ours was not asked."""
    ours = over.get("ours", {})
    if not ours:
        return []
    slack = QUICK_SHARE if quick else 1.0
    added = ADDED_P50_MS / slack + ADDED_FSYNCS * fsync_ms
    found = [
        Bar("added latency, 1 connection, p50", ours.get("added_ms"), added, False, " ms"),
        Bar(
            "slow streams, p99 delay of a chunk",
            ours.get("delay_p99_ms"),
            STREAM_P99_MS / slack,
            False,
            " ms",
        ),
        Bar("slow streams that failed", ours.get("streams_failed"), 0, False),
        Bar("idle worker, Pss", ours.get("idle_mb"), IDLE_MB, False, " MB"),
    ]
    if "litellm" in targets:
        times = ratio(over, "litellm", "rps")
        found.insert(0, Bar("requests/s, ours / litellm", times, LITELLM_RATIO * slack, True))
    if quick and "floor" in targets:
        share = ratio(over, "floor", "rps")
        found.insert(0, Bar("requests/s, ours / floor", share, QUICK_FLOOR_RATIO, True))
    return found


def ledger_bars(ledger: Row) -> list[Bar]:
    """The ledger's own check, and no answer without its entry.

    A request with an unclear end may have an entry (the client did not see how it ended), so
    entries may exceed answers by as many as those, and by no more.
    """
    surplus = ledger["entries"] - ledger["answered"]
    return [
        Bar("requests of ours that failed", float(ledger["unclear"]), 0, False),
        Bar("audit_ledger, complaints", float(bool(ledger["audit"])), 0, False),
        Bar("answers without an entry", float(max(0, -surplus)), 0, False),
        Bar("entries without an answer", float(max(0, surplus)), ledger["unclear"], False),
    ]


# ---- the page -----------------------------------------------------------------------------------

LINES = [
    ("requests/s, 64 connections", "rps"),
    ("   p99, ms", "p99_us"),
    ("   CPU µs/request", "cpu_us"),
    ("50 KB bodies/s", "big_rps"),
    ("   CPU µs/request", "big_cpu_us"),
    ("p50 ms, 1 connection", "single_p50_us"),
    ("   added to the mock's own", "added_ms"),
    ("slow streams complete, of {streams}", "streams"),
    ("   p50 delay of a chunk, ms", "delay_p50_ms"),
    ("   p99", "delay_p99_ms"),
    ("   max", "delay_max_ms"),
    ("   CPU µs/chunk", "chunk_cpu_us"),
    ("   core, %", "stream_core"),
    ("idle worker, Pss MB", "idle_mb"),
]
RATIOS = [
    ("requests/s", "rps"),
    ("50 KB bodies/s", "big_rps"),
    ("CPU/request", "cpu_us"),
    ("CPU/chunk", "chunk_cpu_us"),
]


def number(value: float | None, metric: str = "") -> str:
    """Three significant digits, thousands apart; µs metrics of latency are shown in ms."""
    if value is None:
        return "–"
    if metric in ("p99_us", "single_p50_us"):
        value /= 1000
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def table(head: list[str], body: list[list[str]]) -> list[str]:
    """Columns, the first one to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)
        )
        for row in [head, *body]
    ]


def ratio_table(over: Medians, targets: list[str]) -> list[str]:
    """Ours divided by each of the others."""
    others = [name for name in targets if name != "ours"]
    rows = [
        [what, *(number(ratio(over, name, metric)) for name in others)] for what, metric in RATIOS
    ]
    return table(["ours divided by", *others], rows)


def warnings(summary: Row) -> list[str]:
    """What makes the numbers worth less."""
    found = []
    if summary["others_percent"] > NOISY_PERCENT:
        found.append(f"NOTE: others took more than {NOISY_PERCENT} % of the machine; run it again")
    if summary["fallback"]:
        found.append("NOTE: tools in Python (FALLBACK): they are measured as much as the gateways")
    return found


def page(summary: Row) -> str:
    """The readable page of one run."""
    over, targets, machine = summary["medians"], summary["targets"], summary["machine"]
    rows = [
        [
            what.format(**summary),
            *(number(over.get(name, {}).get(metric), metric) for name in targets),
        ]
        for what, metric in LINES
    ]
    versions = ", ".join(f"{name} = {text}" for name, text in summary["versions"].items())
    lines = [
        f"bench {summary['when']}, {summary['form']} form, {summary['rounds']} round(s), medians",
        f"{machine['cores']} cores, {machine['processor']}, kernel {machine['kernel']}, "
        f"Python {machine['python']}; {versions}",
        f"fsync p50 of DATA_DIR {summary['fsync_ms']} ms; others' CPU up to "
        f"{summary['others_percent']} %, stolen up to {summary['steal_percent']} %, "
        f"load average up to {summary['loadavg']:.2f}",
        *warnings(summary),
        "",
        *table(["", *targets], rows),
        "",
        *ratio_table(over, targets),
        "",
        *summary["lines"],
        *(f"{name} was not measured: {why}" for name, why in summary["lost"].items()),
        *(["", summary["ledger"]["audit"]] if summary.get("ledger", {}).get("audit") else []),
    ]
    return "\n".join(lines)

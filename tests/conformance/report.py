"""What a run has found, printed: the table, every difference, the refusals, the ledger.

Each part says whether all is as it should be; all of them are printed whatever one says.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tests.conformance.compare import (
    Difference,
    Results,
    column,
    differences,
    reached,
    refusal,
    table,
)
from tests.conformance.groups import USER_GROUPS, group_of
from tests.conformance.install import say
from tests.conformance.through import Through


def report(groups: Sequence[str], straight: Results, through: Mapping[str, Through]) -> bool:
    rows = [["group", "tests", "straight", *through]]
    for group in groups:
        mine = {test: result for test, result in straight.items() if group_of(test) == group}
        row = [group, str(len(mine)), str(column(group, mine, mine))]
        for run, found in through.items():
            here = {test: got for test, got in found.results.items() if group_of(test) == group}
            has = run == "operator" or group in USER_GROUPS
            row.append(str(column(group, mine, here, user=run == "user")) if has else "–")
        rows.append(row)
    say(f"\n{table(rows)}\n(passed/failed; what is skipped, the suite itself skips)")
    _failing_straight(straight)
    verdicts = [_run(run, straight, found) for run, found in through.items()]
    return all(verdicts)


def _failing_straight(straight: Results) -> None:
    """What fails without us, so that nobody counts it as ours."""
    failing = Counter(
        (test.partition("::")[0], result.why[:110])
        for test, result in straight.items()
        if result.outcome == "failed"
    )
    if failing:
        say("\nfail against the mock itself:")
    for (file, why), count in failing.items():
        say(f"  {count:4}  {file}: {why}")


def _run(run: str, straight: Results, found: Through) -> bool:
    user = run == "user"
    measure = {
        test: result
        for test, result in straight.items()
        if not user or group_of(test) in USER_GROUPS
    }
    wrong = differences(measure, found.results, user=user)
    say(f"\n{run}: {len(wrong) or 'no'} tests differ from the straight run")
    _list(wrong)
    held = not user or _refusals(measure, found, {each.test for each in wrong})
    return all([not wrong, held, _ledger(run, found)])


def _list(wrong: Sequence[Difference]) -> None:
    """Each by its name; what differs alike for each kind of client is one line."""
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for each in wrong:
        name, _, client = each.test.partition("[")
        why = f"{each.straight} -> {each.here}  {each.why}"
        alike[name, why].append(client.rstrip("]") or "-")
    for (name, why), clients in sorted(alike.items()):
        say(f"  {name} [{', '.join(sorted(clients))}]\n      {why}")


def _refusals(straight: Results, found: Through, wrong: set[str]) -> bool:
    """The tests a user is refused in, by name and with the reason; and that we refused them."""
    names: Counter[tuple[str, str, str]] = Counter()
    for test, result in straight.items():
        if test not in wrong and (row := refusal(test, result)):
            name = test.rpartition("::")[2].partition("[")[0]
            names[row.reason, row.file, name] += 1
    say("\nuser: refused with 404, for what these tests name the user never made:")
    for (reason, file, name), count in sorted(names.items()):
        say(f"  {count:4}  {file} {name}: {reason}")
    over = reached(found.calls, found.upstream)
    say(f"user: refused calls that reached the provider: {len(over) or 'none'}")
    for line in over:
        say(f"  {line}")
    return not over


def _ledger(run: str, found: Through) -> bool:
    """The calls on the wire against the entries."""
    ledger = found.ledger
    parts = ", ".join(f"{count} {name}" for name, count in ledger["counted"].items())
    states = ", ".join(f"{count} {state}" for state, count in ledger["states"].items())
    say(f"\n{run}: {len(found.calls)} calls on the wire: {parts}")
    say(f"{run}: entries in the ledger: {states or 'none'}")
    for route, count in ledger["open"].items():
        say(f"  open, for its job has not ended: {route} ({count})")
    for call, count in ledger["unrouted"].items():
        say(f"  no such route: {call} ({count})")
    wrong = {
        "ANSWERED WITHOUT AN ENTRY": ledger["lost"],
        "AN ENTRY OF NO CALL": ledger["unseen"],
        "UNREADABLE ON THE WIRE": found.unread,
    }
    for title, rows in wrong.items():
        for row in rows[:20]:
            say(f"  {title}: {row}")
        if len(rows) > 20:
            say(f"  {title}: {len(rows) - 20} more")
    say(f"{run}: audit_ledger:")
    for line in found.audit.splitlines()[-6:]:
        say(f"  {line}")
    return found.audited and not any(wrong.values())

"""`make conformance`: is the gateway, for OpenAI's own client, the same as OpenAI?

    python -m tests.conformance                       # all 16 groups, both keys
    python -m tests.conformance --only chat --only files
    python -m tests.conformance --only chat --run user
    python -m tests.conformance --straight            # without a gateway

Exit code 0: every group is equal to the straight run and the ledger has every call. 1: it is not.
2: it could not be run.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence

from tests.conformance import install, servers, suite
from tests.conformance.groups import GROUPS, USER_GROUPS, Unplaced, placed
from tests.conformance.install import CannotRun, say
from tests.conformance.relay import Relay
from tests.conformance.report import report
from tests.conformance.through import go_through

LOGS = install.HOUSE / "logs"
RUNS = ("operator", "user")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="a group; repeatable")
    parser.add_argument("--run", action="append", choices=RUNS, help="whose key; repeatable")
    parser.add_argument("--straight", action="store_true", help="the straight run and no other")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    runs = () if given.straight else tuple(given.run or RUNS)
    try:
        return conformance(given.only or list(GROUPS), runs)
    except (CannotRun, Unplaced) as error:
        print(f"conformance cannot run: {error}", file=sys.stderr)
        return 2


def conformance(groups: Sequence[str], runs: Sequence[str]) -> int:
    began = time.monotonic()
    specification = install.specification()
    there = install.install()
    files, others = placed(there.archive)
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    wanted = {
        "operator": [file for group in groups for file in files[group]],
        "user": [file for group in groups if group in USER_GROUPS for file in files[group]],
    }
    with servers.mock(there.mock, specification, LOGS / "mock.log") as mock:
        with Relay(mock) as relay:
            straight = suite.run("straight", there, wanted["operator"], LOGS, url=relay.url)
        say(f"straight: {len(relay.calls)} calls on the wire")
        through = {
            run: go_through(run, there, wanted[run], mock, LOGS) for run in runs if wanted[run]
        }
    good = report(groups, straight, through)
    say(
        f"\n{len(straight)} tests of openai {there.version} against {specification.name}; "
        f"{others} files of APIs this gateway does not have are left out"
    )
    say(f"logs: {LOGS}; {time.monotonic() - began:.0f} s in all")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

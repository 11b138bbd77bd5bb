"""A file as large as there may be one, up and down through one worker.

    python -m tests.torture.big                  # 512 MB
    python -m tests.torture.big --megabytes 64

Its bytes must be equal, and the worker's own memory must not grow by what it carries. Both sides
of the wire make and read their bytes in pieces; the provider keeps none of them.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import tests.environment  # noqa: F401  # the settings of the suite, before Django reads any

if TYPE_CHECKING:
    from tests.kit import Person, Site, Supply
    from tests.upstream import FaultServer

MB = 1_048_576
MOST = 32 * MB  # bytes by which the worker may grow
BLOCK = 262_144
BOUNDARY = "b1g"


def blocks(size: int) -> Iterator[bytes]:
    """So many bytes, no two blocks alike, the same at every call."""
    seed = hashlib.shake_256(b"big").digest(BLOCK - 8)
    for number in range(-(-size // BLOCK)):
        block = number.to_bytes(8, "big") + seed
        yield block[: min(BLOCK, size - number * BLOCK)]


def digest(pieces: Iterator[bytes]) -> str:
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


def form(size: int) -> tuple[int, Iterator[bytes]]:
    """The length and the pieces of a form with a file of `size` bytes."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        yield from blocks(size)
        yield tail

    return len(head) + size + len(tail), pieces()


def pss(pid: int) -> int:
    """A process's share of memory, in bytes: page cache of its files is not in it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Pss")


class Watch:
    """The most memory a worker has while something runs."""

    def __init__(self, pid: int) -> None:
        self.before = self.most = pss(pid)
        self.samples = 0
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, pss(self._pid))
            self.samples += 1

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        return self.most - self.before


def send(site: "Site", who: "Person", size: int) -> None:
    """Upload the file."""
    from tests.rawclient import Raw

    length, pieces = form(size)
    with Raw(site, timeout=600) as raw:
        kind = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        raw.ask("POST", "/v1/files", [*who.auth.items(), kind, ("Content-Length", str(length))])
        for piece in pieces:
            raw.send(piece)
        reply = raw.reply()
    assert reply.status == 200, reply


def fetch(site: "Site", who: "Person", file: str) -> tuple[int, str]:
    """Download the file: its size and digest."""
    import requests

    sha, size = hashlib.sha256(), 0
    with requests.get(
        f"{site.url}/v1/files/{file}/content", headers=who.auth, stream=True, timeout=600
    ) as reply:
        assert reply.status_code == 200, reply.text
        for piece in reply.iter_content(BLOCK):
            sha.update(piece)
            size += len(piece)
    return size, sha.hexdigest()


def warm(site: "Site", who: "Person", file: str) -> None:
    """Small ones first: what a worker learns once is not what a large one costs it."""
    send(site, who, 2 * MB)
    fetch(site, who, file)


def run(size: int, say: Callable[[str], None]) -> list[str]:
    """What was found wrong."""
    from tests import kit
    from tests.upstream import FaultServer

    with FaultServer(keep_body=0) as up:
        supplied = kit.supply(up, catch_all=True)
        site = kit.launch(workers=1)
        try:
            return _both(site, supplied, size, say)
        finally:
            site.stop()


def _both(site: "Site", supplied: "Supply", size: int, say: Callable[[str], None]) -> list[str]:
    from bsod.lib.terms import ObjectKind
    from tests import kit
    from tests.proxy.gateway.world import held
    from tests.upstream import Reply, json_reply

    who, up, id_ = kit.person("big", unlimited=True), supplied.up, kit.unique("file")
    (pid,) = site.workers()
    kind = (("Content-Type", "application/octet-stream"),)
    up.default = json_reply({"id": id_, "object": "file", "bytes": size})
    up.on(Reply(headers=kind, body=b"small"), path_suffix="/content", method="GET")
    warm(site, who, held(who, supplied.key_row(), ObjectKind.FILE))
    whole = Reply(headers=kind, body=lambda _: blocks(size), length=size)
    up.on(whole, path_suffix=f"{id_}/content", method="GET")
    found = _up(site, up, who, pid, size, say) + _down(site, who, pid, id_, size, say)
    assert kit.ledger_adds_up(who)
    return found


def _up(site: "Site", up: "FaultServer", who: "Person", pid: int, size: int,
        say: Callable[[str], None]) -> list[str]:  # fmt: skip
    began = time.monotonic()
    with Watch(pid) as watch:
        send(site, who, size)
    say(_told("upload", size, time.monotonic() - began, watch))
    seen, wanted = up.seen[-1], digest(form(size)[1])
    say(f"  sent     {wanted}\n  received {seen.body_sha256}")
    wrong = [] if seen.body_sha256 == wanted else ["the uploaded bytes differ"]
    return wrong + _grown("upload", watch)


def _down(site: "Site", who: "Person", pid: int, file: str, size: int,
          say: Callable[[str], None]) -> list[str]:  # fmt: skip
    began = time.monotonic()
    with Watch(pid) as watch:
        got, sha = fetch(site, who, file)
    say(_told("download", got, time.monotonic() - began, watch))
    wanted = digest(blocks(size))
    say(f"  stored   {wanted}\n  received {sha}")
    wrong = [] if (got, sha) == (size, wanted) else ["the downloaded bytes differ"]
    return wrong + _grown("download", watch)


def _told(what: str, size: int, seconds: float, watch: Watch) -> str:
    return (
        f"{what}: {size / MB:.0f} MB in {seconds:.1f} s ({size / MB / seconds:.0f} MB/s); "
        f"worker {watch.before / MB:.1f} MB before, {watch.most / MB:.1f} MB at most, "
        f"grown by {watch.grown / MB:.1f} MB ({watch.samples} samples)"
    )


def _grown(what: str, watch: Watch) -> list[str]:
    if not watch.samples:
        return [f"{what}: memory was never looked at"]
    return [f"{what}: grown by {watch.grown} bytes"] if watch.grown >= MOST else []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.big")
    parser.add_argument("--megabytes", type=int, default=512)
    size = parser.parse_args().megabytes * MB
    with tempfile.TemporaryDirectory(prefix="bsod-big-") as folder:
        os.environ |= {"DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "bsod.settings"}
        os.environ.pop("DATABASE_URL", None)
        import django

        django.setup()
        from django.test.utils import setup_databases, setup_test_environment, teardown_databases

        setup_test_environment()
        made = setup_databases(verbosity=0, interactive=False)
        try:
            found = run(size, print)
        finally:
            teardown_databases(made, verbosity=0)
    print("\n".join(found) or "equal bytes, and memory within its bound")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

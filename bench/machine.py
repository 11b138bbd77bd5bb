"""What else the machine did while we measured, and what it is made of."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from proc import TICK_US, cpu_us

SYNCS = 60


@dataclass(frozen=True)
class Moment:
    """Readings at one moment; all times in µs."""

    wall: int
    busy: int
    steal: int
    ours: int

    @classmethod
    def now(cls, pids: list[int]) -> Moment:
        """Read the machine's CPU times, and those of the process trees that are the run's own."""
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _, _, _, _, steal = (int(ticks) * TICK_US for ticks in fields[:8])
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        own = sum(int((usage.ru_utime + usage.ru_stime) * 1e6) for usage in used)
        ours = own + sum(cpu_us(pid) for pid in pids)
        return cls(time.monotonic_ns() // 1000, user + nice + system, steal, ours)


def between(before: Moment, after: Moment) -> dict[str, float]:
    """Others' CPU and stolen time between two moments, in percent of all cores together."""
    all_cores = max(1, after.wall - before.wall) * (os.cpu_count() or 1)
    others = (after.busy - before.busy) - (after.ours - before.ours)
    return {
        "others_percent": round(100 * max(0, others) / all_cores, 1),
        "steal_percent": round(100 * (after.steal - before.steal) / all_cores, 1),
        "loadavg": os.getloadavg()[0],
    }


def fsync_p50_ms(folder: Path) -> float:
    """Median time to make 4 KB durable in ``folder``, in ms."""
    probe = folder / "fsync.probe"
    times = []
    with probe.open("wb") as out:
        for _ in range(SYNCS):
            began = time.perf_counter()
            out.write(b"x" * 4096)
            out.flush()
            os.fsync(out.fileno())
            times.append((time.perf_counter() - began) * 1000)
    probe.unlink()
    return round(statistics.median(times), 3)


def processor() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe() -> dict[str, str | int]:
    """What the numbers depend on."""
    return {
        "cores": os.cpu_count() or 1,
        "processor": processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }

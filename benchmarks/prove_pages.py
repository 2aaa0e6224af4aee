"""Try the server on a large gym: how long each page and each answer of the API takes, and how much memory."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx

from understudy.benchmarks.big_gym import make
from understudy.benchmarks.dev_server import langgraph_dev
from understudy.benchmarks.prove_ollama import Line, Trial

DECISIONS = 100_000
ROUNDS = 20
BUDGET_MS = 300.0
BUDGET_MB = 400.0
PAGES = (
    "/brain/ui/", "/brain/ui/conversations", "/brain/ui/conversations/one?id=dt-047", "/brain/ui/review",
    "/brain/ui/versions", "/brain/ui/ab", "/brain/ui/dreams", "/brain/ui/jobs", "/brain/ui/settings",
)  # fmt: skip
ANSWERS = (
    "/brain/status", "/brain/decisions?limit=100", "/brain/decisions?faults=true", "/brain/conversations?limit=100",
    "/brain/conversations/dt-047", "/brain/versions", "/brain/versions/intent", "/brain/ab", "/brain/runs",
    "/brain/settings",
)  # fmt: skip


def pages(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Ask for everything twenty times, with a gym of 100,000 decisions."""
    gym = folder / "brain_gym.db"
    decisions = make(gym, DECISIONS)
    with (
        langgraph_dev(folder, "--n-jobs-per-worker", "4") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        start_mb = _peak_mb(server.pid)
        for path in (*PAGES, *ANSWERS):
            first, ms = _ms(client, path), sorted(_ms(client, path) for _ in range(ROUNDS))
            found = f"first {first:.0f} ms, p50 {median(ms):.0f} ms, max {ms[-1]:.0f} ms"
            yield Line(path, ms[-1] < BUDGET_MS, found)
        found = f"{start_mb:.0f} MB after the start, {_peak_mb(server.pid):.0f} MB at most; {decisions:,} decisions"
        yield Line("memory of the server", _peak_mb(server.pid) < BUDGET_MB, found)


def _ms(client: httpx.Client, path: str) -> float:
    started = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - started) * 1000


def _peak_mb(pid: int) -> float:
    """Return the most memory that the process has had resident."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


TRIALS: dict[str, Trial] = {"pages": pages}

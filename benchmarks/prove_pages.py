"""Try the server on a large gym: how long each page and each answer of the API takes, and how much memory."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from understudy.benchmarks.big_gym import LONG, make
from understudy.benchmarks.dev_server import langgraph_dev
from understudy.benchmarks.prove_ollama import Line, Trial

DECISIONS = 100_000
MESSAGES = 10_000
"""Of the conversation LONG."""
ROUNDS = 10
BUDGET_MS = 300.0
BUDGET_MB = 400.0
PAGES = (
    "/brain/ui/", "/brain/ui/conversations", "/brain/ui/conversations?outcome=abandoned",
    f"/brain/ui/conversations/one?id={LONG}&turn=2000", "/brain/ui/review", "/brain/ui/versions", "/brain/ui/ab",
    "/brain/ui/dreams", "/brain/ui/jobs", "/brain/ui/settings",
)  # fmt: skip
SEARCHES = (
    "/brain/decisions?limit=100", "/brain/decisions?profile=nothing", "/brain/decisions?intent=nothing",
    "/brain/decisions?conflict_type=nothing&profile=default", "/brain/decisions?conversation_id=nothing",
    f"/brain/decisions?conversation_id={LONG}", "/brain/decisions?module=response&version=v9.9",
    "/brain/decisions?faults=true&intent=nothing", "/brain/decisions?faults=false&intent=nothing",
    "/brain/decisions?labelled=true&intent=nothing", "/brain/decisions?labelled=false&intent=nothing",
    "/brain/decisions?since=2999-01-01", "/brain/decisions?until=2000-01-01", "/brain/conversations?limit=100",
    "/brain/conversations?profile=nothing", "/brain/conversations?prefix=nothing",
    "/brain/conversations?outcome=open&prefix=nothing", "/brain/conversations?outcome=failure&faults=true",
    "/brain/conversations?faults=false&prefix=nothing", f"/brain/conversations/{LONG}?turn=2000",
)  # fmt: skip
"""The hardest are those that find nothing: they look at everything."""
GIVEN = {"module": "intent", "version": "v0.0", "name": "intent"}
NEEDS_MORE = ("/runs/{run_id}", "/compare/{module}/{a}/{b}")
"""Routes that ask for a run, and for versions that were learnt."""


def pages(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Ask for everything ten times, with a gym of 100,000 decisions."""
    decisions = make(folder / "brain_gym.db", DECISIONS, MESSAGES)
    with (
        langgraph_dev(folder, "--n-jobs-per-worker", "4", SCHEDULER_ENABLED="false") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        start_mb = _peak_mb(server.pid)
        _ms(client, "/brain/ab", {"module": "intent", "b": "v0.0"})
        for path in (*PAGES, *SEARCHES, *_others(client)):
            yield _line(path, [_ms(client, path) for _ in range(ROUNDS + 1)])
        yield _line("the overview when something is new", [_after_label(client, turn) for turn in range(ROUNDS)])
        told = [{"conversation_id": f"new {number}", "text": "Can you take my van?"} for number in range(ROUNDS)]
        yield _line("POST /brain/observe", [_ms(client, "/brain/observe", one) for one in told])
        found = f"{start_mb:.0f} MB after the start, {_peak_mb(server.pid):.0f} MB at most; {decisions:,} decisions"
        yield Line("memory of the server", _peak_mb(server.pid) < BUDGET_MB, found)


def _others(client: httpx.Client) -> list[str]:
    """Return what else the API's document has to be read, with something asked for that is there."""
    paths = client.get("/brain/openapi.json").json()["paths"]
    left_out = (*NEEDS_MORE, "/decisions", "/conversations", "/conversations/{conversation_id}")
    routes = [path for path, methods in paths.items() if "get" in methods and path not in left_out]
    return [f"/brain{path.format(**GIVEN)}" for path in routes]


def _after_label(client: httpx.Client, turn: int) -> float:
    _ms(client, "/brain/labels", {"conversation_id": LONG, "turn": turn, "fields": {"intent": "booking"}})
    return _ms(client, PAGES[0])


def _line(name: str, ms: list[float]) -> Line:
    first, *rest = ms
    found = f"first {first:.0f} ms, p50 {median(rest):.0f} ms, max {max(rest):.0f} ms"
    return Line(name, max(rest) < BUDGET_MS, found)


def _ms(client: httpx.Client, path: str, body: dict[str, Any] | None = None) -> float:
    started = time.perf_counter()
    answer = client.get(path) if body is None else client.post(path, json=body)
    spent = (time.perf_counter() - started) * 1000
    answer.raise_for_status()
    return spent


def _peak_mb(pid: int) -> float:
    """Return the most memory that the process has had resident."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


TRIALS: dict[str, Trial] = {"pages": pages}

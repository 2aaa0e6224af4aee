"""Trials of the way to a model server, against the tests' own server: part of `make prove`."""

import argparse
import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple
from unittest.mock import patch

import dspy

from understudy.checkpoints.gym import Gym
from understudy.events import Event
from understudy.lm import server as server_file
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.errors import ModelError, ServerDown
from understudy.lm.roles import get_lm
from understudy.nodes.brain import Brain
from understudy.nodes.modules import MODULES
from understudy.replay import replay
from understudy.settings import Settings
from understudy.tests.ollama.faults import FAULTS
from understudy.tests.ollama.server import OllamaServer

TURNS = 300
SHARE = 0.1
SECONDS = 1.0
"""OLLAMA_TIMEOUT in these trials: a call may take twice that, a turn two calls one after the other, and pauses."""

LEAST_READINGS = 0.95


class Line(NamedTuple):
    """One line of the table."""

    trial: str
    ok: bool
    found: str


def same_readings(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Observe 50 STAR conversations over HTTP, several at a time, and with the engine itself."""
    file = _some(data, folder, 50)
    found = {}
    with OllamaServer() as server:
        for provider in ("ollama", "embedded"):
            settings = _settings(server, folder / f"{provider}.db", lm_provider=provider, ollama_timeout=30)
            found[provider] = asyncio.run(_readings(settings, file))
        at_once = server.most_at_once
    same = sum(found["ollama"].get(turn) == fields for turn, fields in found["embedded"].items())
    ok = same == len(found["embedded"]) == len(found["ollama"]) and at_once > 1
    yield Line(
        "over HTTP", ok, f"{same} of {len(found['embedded'])} turns read the same, up to {at_once} calls at once"
    )


def every_fault(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Play each fault in a tenth of the calls over 300 turns."""
    file = _some(data, folder, 36)
    with OllamaServer() as server:  # what is loaded once is no growth
        asyncio.run(_observe(_settings(server, folder / "warm.db"), file))
    for fault in FAULTS:
        with OllamaServer(seed=3) as server, patch.object(server_file, "PAUSE_SECONDS", 0.05):
            server.play(fault, share=SHARE)
            settings = _settings(server, folder / f"{fault}.db", brain_when_down="fault", brain_profile="star")
            before = _memory_mb()
            report, rows = asyncio.run(_observe(settings, file))
            played = sum(seen.fault is not None for seen in server.requests)
            crashes = len(server.crashes)
        readings = sum(len(row.readings) for row in rows)
        kinds = Counter(f["kind"] for row in rows for f in row.faults)
        wanted = sum(turns for turns in report.values())
        worst = max(row.latency_ms for row in rows) / 1000
        share, grown = readings / (5 * len(rows)), _memory_mb() - before
        ok = len(rows) == wanted >= TURNS and share >= LEAST_READINGS and not crashes and played > TURNS * 5 * SHARE / 2
        ok = ok and worst < 2 * (2 * 2 * SECONDS + 4) and grown < 60
        yield Line(
            f"fault {fault}",
            ok,
            f"{len(rows)} of {wanted} turns have their row, {share:.1%} of the readings, {played} played; faults"
            f" {dict(kinds) or 0}; slowest turn {worst:.1f} s, memory {grown:+.0f} MB",
        )


def server_that_is_down(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Take the server away: what a call costs then, how soon they resume, and what the host's write costs."""
    with OllamaServer() as server:
        settings = _settings(server, folder / "down.db")
        asyncio.run(_call(settings))
        up = _write_ms(folder / "up-writes.db")
        server.stop()
        while not isinstance(asyncio.run(_call(settings))[1], ServerDown):
            pass
        down = _write_ms(folder / "down-writes.db")
        times = [asyncio.run(_call(settings))[0] * 1000 for _ in range(200)]
        server.start()
        started = time.perf_counter()
        while asyncio.run(_call(settings))[1] is not None:
            time.sleep(0.01)
        back = time.perf_counter() - started
    # The slowest of all is Python's collector going through all of DSPy and LangChain.
    worst = quantiles(times, n=100)[98]
    found = f"200 calls after ten failures: p50 {median(times):.2f} ms, p99 {worst:.2f} ms"
    yield Line("held back", worst < 5, found)
    yield Line("back again", back <= server_file.PROBE_SECONDS + 0.5, f"answers again after {back:.1f} s")
    cuts = [quantiles(times, n=100)[98] for times in (up, down)]
    yield Line("the host's write", cuts[1] < max(2.0, 2 * cuts[0]), f"p99 {cuts[0]:.2f} ms up, {cuts[1]:.2f} ms down")


async def _readings(settings: Settings, file: Path) -> dict[tuple[str, int], Any]:
    _, rows = await _observe(settings, file)
    return {
        (row.conversation_id, row.turn): {name: reading["fields"] for name, reading in row.readings.items()}
        for row in rows
    }


async def _observe(settings: Settings, file: Path) -> tuple[dict[str, int], list[Any]]:
    """Return the turns of each file and the rows they became; no error may come through."""
    brain = Brain(settings)
    report = await replay([file], brain)
    assert brain.gym is not None
    rows = list(brain.gym.decisions())
    brain.gym.close()
    return {str(file): report.turns}, rows


async def _call(settings: Settings) -> tuple[float, ModelError | None]:
    """Ask the student once; return the seconds it took and what went wrong."""
    program = MODULES["conflict"].program(Brain(settings).profile(None))
    started = time.perf_counter()
    try:
        with dspy.context(lm=get_lm("student", settings), adapter=AnswerAdapter(), disable_history=True, trace=None):
            await program.acall(history=[], message="hello")
    except ModelError as error:
        return time.perf_counter() - started, error
    return time.perf_counter() - started, None


def _write_ms(path: Path) -> list[float]:
    """Write 300 customer messages to the log, which is all that happens on the host's path."""
    gym, times = Gym(path), []
    for number in range(300):
        event = Event(kind="customer_message", text="hello", message_id=str(number))
        started = time.perf_counter()
        gym.append(f"c{number}", [event], "default")
        times.append((time.perf_counter() - started) * 1000)
    gym.close()
    return times


def _some(data: Path, folder: Path, count: int) -> Path:
    file = folder / "some.jsonl"
    with (data / "star.jsonl").open(encoding="utf-8") as star:
        file.write_text("".join(islice(star, count)), encoding="utf-8")
    return file


def _settings(server: OllamaServer, gym: Path, **more: Any) -> Settings:
    given = {"lm_provider": "ollama", "ollama_base_url": server.url, "ollama_timeout": SECONDS, "rl_gym_db_path": gym}
    return Settings(**{**given, **more})


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


Trial = Callable[[Path, Path, argparse.Namespace], Iterator[Line]]
TRIALS: dict[str, Trial] = {"http": same_readings, "faults": every_fault, "down": server_that_is_down}

"""A trial of retention: a year of 100,000 decisions, of which 30 days are kept; part of `make prove`.

Every day's conversations are written as the shadow writes them (events, decision, evidence, suggestion, checkpoint,
dreams), from turns that it has really read. Then a process of its own erases what is too old, as the scheduler's does,
while this one goes on writing turns and measures how long each write takes.
"""

import argparse
import asyncio
import copy
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.checkpoints.gym import Gym
from understudy.checkpoints.saver import open_checkpointer
from understudy.demo import BUNDLED
from understudy.events import BrainDecision, Event
from understudy.nodes.brain import Brain
from understudy.nodes.record import decision_id
from understudy.replay import replay
from understudy.settings import Settings

DAYS, KEPT_DAYS = 365, 30
DECISIONS = 100_000
DREAMS_A_DAY = 10
MOST_MS_BLOCKED = 50.0
MOST_GROWTH = 1.2

# The other process erases when it is told a day, and says what it has erased.
ERASER = """
import json, sys
from datetime import datetime
from understudy.forgetting import forget_expired
from understudy.nodes.brain import Brain
from understudy.settings import Settings
brain = Brain(Settings())
brain.gym
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(forget_expired(brain, present=datetime.fromisoformat(line.strip()))), flush=True)
"""


class Year:
    """Writes copies of turns that were really read, and notes how long every write took."""

    def __init__(self, folder: Path, saver: Any, brain: Brain) -> None:
        self.gym: Gym = brain.gym  # type: ignore[assignment]
        self.saver = saver
        self.turns = [decision for decision in self.gym.decisions()]
        self.saved = {d.decision_id: self._checkpoint(d) for d in self.turns}
        self.ms: list[float] = []
        self.written = 0

    def _checkpoint(self, decision: BrainDecision) -> Any:
        return next(self.saver.list({"configurable": {"thread_id": decision.thread_id}}, limit=1))

    def conversation(self, at: datetime) -> str:
        """Write the next conversation, of five turns, and return its id."""
        name = str(uuid4())
        for turn in range(5):
            self.turn(name, turn, self.turns[self.written % len(self.turns)], at)
        return name

    def turn(self, name: str, turn: int, like: BrainDecision, at: datetime) -> None:
        """Write one turn as the shadow does, and measure."""
        message, moment = f"m{turn}", at.isoformat()
        events = [Event("customer_message", message_id=message, text=like.user_message, at=moment)]
        if like.response_sent:
            reply = {"message_id": f"r{turn}", "text": like.response_sent, "action": like.action_taken, "at": moment}
            events.append(Event("agent_message", **reply))  # type: ignore[arg-type]
        run_id = str(uuid4())
        values = {"conversation_id": name, "turn": turn, "message_id": message, "thread_id": name, "run_id": run_id}
        decision = like.model_copy(update={**values, "decision_id": decision_id(name, message)})
        self.timed(lambda: self.gym.append(name, events, "default"))
        pending = self.gym.pending(name)
        self.timed(lambda: self.gym.record(decision, name, pending))
        found = self.saved[like.decision_id]
        state = copy.copy(found.checkpoint)
        state["id"] = f"{turn:08d}-{run_id}"
        config = {"configurable": {"thread_id": name, "checkpoint_ns": ""}}
        metadata = {**found.metadata, "run_id": run_id, "conversation_id": name}
        self.timed(lambda: self.saver.put(config, state, metadata, {}))
        self.written += 1

    def timed(self, write: Any) -> None:
        """Do something and note the milliseconds."""
        started = time.perf_counter()
        write()
        self.ms.append((time.perf_counter() - started) * 1000)

    def dream(self, parents: list[str], day: int) -> None:
        """Write dreams of some conversations."""
        text = " ".join(turn.user_message for turn in self.turns[:8])
        common = {"profile": "default", "cycle": f"day {day}", "kind": "replay", "intent": "booking", "model": "none",
                  "prompt_hash": "", "sketch": bytes(512), "conversation": {"messages": [text]}}  # fmt: skip
        made = [{**common, "dream_id": f"{day} {n}", "parents": [p], "lenders": []} for n, p in enumerate(parents)]
        self.gym.dreams.keep(made)


def retention(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Let a year pass."""
    yield from asyncio.run(_year(folder))


async def _year(folder: Path) -> list[Line]:
    settings = Settings(rl_gym_db_path=folder / "gym.db", optimized_modules_dir=folder / "modules")
    brain = Brain(settings)
    some = folder / "some.jsonl"
    some.write_text("".join(BUNDLED.read_text(encoding="utf-8").splitlines(keepends=True)[:40]), encoding="utf-8")
    await replay([some], brain)
    async with open_checkpointer(settings.rl_gym_db_path) as saver:
        return _lived(Year(folder, saver, brain), settings)


def _lived(year: Year, settings: Settings) -> list[Line]:
    environment = {"RL_GYM_DB_PATH": str(settings.rl_gym_db_path), "RL_GYM_RETENTION_DAYS": str(KEPT_DAYS),
                   "OPTIMIZED_MODULES_DIR": str(settings.optimized_modules_dir)}  # fmt: skip
    eraser = subprocess.Popen(
        [sys.executable, "-c", ERASER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert eraser.stdin and eraser.stdout
    eraser.stdout.readline()
    begin, sizes, erased, seconds = datetime.now(UTC) - timedelta(days=DAYS), list[int](), 0, 0.0
    alone: list[float] = []
    meanwhile: list[float] = []
    for day in range(DAYS):
        present = begin + timedelta(days=day)
        names = []
        while year.written < DECISIONS * (day + 1) / DAYS:
            names.append(year.conversation(present))
        year.dream(names[:DREAMS_A_DAY], day)
        alone += year.ms
        year.ms = []
        eraser.stdin.write(present.isoformat() + "\n")
        eraser.stdin.flush()
        answer = _while_writing(year, eraser.stdout, present)
        meanwhile += year.ms
        year.ms = []
        erased, seconds = erased + answer["conversations"], seconds + answer["seconds"]
        sizes.append(_size(settings.rl_gym_db_path))
    eraser.stdin.close()
    eraser.wait()
    return _lines(year, sizes, alone, meanwhile, erased, seconds)


def _while_writing(year: Year, answers: Any, at: datetime) -> dict[str, Any]:
    """Go on writing turns until the other process has erased."""
    import selectors

    with selectors.DefaultSelector() as ready:
        ready.register(answers, selectors.EVENT_READ)
        while not ready.select(0):
            year.turn(str(uuid4()), 0, year.turns[year.written % len(year.turns)], at)
            time.sleep(0.03)  # a turn is written thirty times a second; more would be more than can be erased
    return dict(json.loads(answers.readline()))


def _size(gym: Path) -> int:
    return sum(path.stat().st_size for path in gym.parent.glob(f"{gym.name}*"))


def _lines(
    year: Year, sizes: list[int], alone: list[float], meanwhile: list[float], erased: int, seconds: float
) -> list[Line]:
    settled = sizes[KEPT_DAYS + 1 :]
    growth = max(settled) / min(settled)
    rows = year.gym.counts()["decisions"]
    flat = Line(
        "a year, 30 days kept",
        growth <= MOST_GROWTH and rows < year.written / 8,
        f"{year.written:,} decisions, {erased:,} conversations erased; {rows:,} decisions at the end; all files "
        f"{min(settled) / 1e6:.1f} to {max(settled) / 1e6:.1f} MB from day {KEPT_DAYS + 1} on (factor {growth:.2f})",
    )
    alone.sort()
    worst = sorted(meanwhile)
    blocked = Line(
        "writing meanwhile",
        worst[-1] <= MOST_MS_BLOCKED,
        f"{len(worst):,} writes in {seconds:.0f} s of erasing: p50 {worst[len(worst) // 2]:.2f} ms, p99.9 "
        f"{worst[int(len(worst) * 0.999)]:.1f}, longest {worst[-1]:.1f} (budget {MOST_MS_BLOCKED:.0f}); without it p50 "
        f"{alone[len(alone) // 2]:.2f}, longest {alone[-1]:.1f}",
    )
    return [flat, blocked]


TRIALS: dict[str, Trial] = {"retention": retention}

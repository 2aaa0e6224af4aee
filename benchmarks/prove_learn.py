"""Trials of learning: what real conversations teach, and that noise teaches nothing; part of `make prove`."""

import argparse
import asyncio
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import dspy

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.checkpoints.versioning import VersionError
from understudy.lm.adapter import AnswerAdapter
from understudy.lm.teacher import EmbeddedTeacher
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.modules import MODULES
from understudy.optimize import optimize
from understudy.replay import replay
from understudy.settings import Settings
from understudy.state import Context

SEEDS = 20
COMMAND = [sys.executable, "-c", "from understudy.cli import main; main()"]


def real_conversations(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Observe all of STAR, learn, and try old and new on every sealed turn."""
    brain = _observed(folder, data / "star.jsonl", 600)
    started = time.perf_counter()
    report = asyncio.run(optimize(brain))
    seconds = time.perf_counter() - started
    yield Line("optimise STAR", seconds < 60, f"five modules on 600 conversations in {seconds:.0f} s, budget 60")
    for name, result in report["module_results"].items():
        gain, interval = result.get("improvement"), result.get("interval")
        yield Line(f"  {name}", True, f"{result['status']}: {result['reason']}; gain {gain}, interval {interval}")
    least = {"intent": 0.75, "next_step": 0.25, "conflict_type balanced": 0.65}
    for name in ("intent", "conflict"):
        before, after = (_right(brain, name, version) for version in ("v0.0", "latest"))
        for field, share in after.items():
            if field in least:
                found = f"{before[field]:.3f} -> {share:.3f} on all sealed turns; at least {least[field]}"
                yield Line(f"  {field}", share >= least[field], found)
    right = report["module_results"]["goals"].get("right") or {"old": {}, "new": {}}
    old, new = (right[which].get("required_info", 0.0) for which in ("old", "new"))
    yield Line("  required_info F1", new > old, f"{old:.3f} -> {new:.3f}")
    gym_of(brain).close()


def only_words(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Let a teacher only reword the instruction: nothing may be published."""
    brain = _observed(folder, data / "star.jsonl", 200)
    published = 0
    with patch.object(EmbeddedTeacher, "complete", _reword(EmbeddedTeacher.complete)):
        for seed in range(SEEDS):
            published += _published(brain, folder, seed, "intent")
    gym_of(brain).close()
    yield Line("a teacher that rewords", published == 0, f"{published} of {SEEDS} seeds published")


def random_labels(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Draw labels at random: what is published may not be right more often than chance explains."""
    brain = _observed(folder, data / "star.jsonl", 200)
    for module, field in (("conflict", "conflict_type"), ("intent", "intent")):
        labels = brain.profile(None).labels[field]
        beyond = published = 0
        for seed in range(SEEDS):
            _relabel(gym_of(brain).path, field, labels, random.Random(seed))
            found = _learn(brain, folder, seed, module)
            if found["status"] == "published":
                published += 1
                share, count = found["right"]["new"][field], found["test_size"]
                beyond += share - 1.645 * math.sqrt(share * (1 - share) / count) > 1 / len(labels)
        text = f"{published} of {SEEDS} published, {beyond} of them right more often than chance"
        yield Line(f"random {field}", beyond <= 1, text)
    gym_of(brain).close()


def killed(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Kill an optimisation at random moments: latest always loads, and the next run goes on or starts clean."""
    brain, dice = _observed(folder, data / "star.jsonl", 150), random.Random(11)
    gym_of(brain).close()
    env = {**_environment(folder), "GEPA_BREADTH": "3", "GEPA_DEPTH": "2"}
    broken = 0
    for _ in range(options.kills):
        process = subprocess.Popen(
            [*COMMAND, "optimize"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(1 + dice.random() * 12)
        process.send_signal(signal.SIGKILL)
        process.wait()
        fresh = Brain(brain.settings)
        for name, faculty in MODULES.items():
            try:
                version = fresh.versioning("star").latest(name)
                fresh.versioning("star").load_into(faculty.program(fresh.profile("star")), name, version)
            except VersionError:
                broken += 1
    done = subprocess.run([*COMMAND, "optimize", "--json"], env=env, capture_output=True, text=True)
    report = json.loads(done.stdout) if done.returncode == 0 else {}
    runs: dict[str, list[Any]] = defaultdict(list)
    for name in MODULES:
        versioning = Brain(brain.settings).versioning("star")
        runs[name] = [versioning.metadata(name, version)["run_id"] for version in versioning.list_versions(name)[1:]]
    twice = [name for name, ids in runs.items() if len(set(ids)) != len(ids)]
    ok = broken == 0 and not twice and report.get("status") == "success"
    yield Line(
        "kill -9 while learning",
        ok,
        f"{options.kills} kills, {broken} times latest did not load; then {report.get('status')}",
    )


def _observed(folder: Path, file: Path, count: int) -> Brain:
    brain = Brain(
        Settings(brain_profile="star", rl_gym_db_path=folder / "gym.db", optimized_modules_dir=folder / "modules")
    )
    some = folder / "some.jsonl"
    with file.open(encoding="utf-8") as lines:
        some.write_text("".join(islice(lines, count)), encoding="utf-8")
    asyncio.run(replay([some], brain))
    return brain


def _environment(folder: Path) -> dict[str, str]:
    own = {"BRAIN_PROFILE": "star", "RL_GYM_DB_PATH": str(folder / "gym.db")}
    return {**os.environ, **own, "OPTIMIZED_MODULES_DIR": str(folder / "modules")}


def _learn(brain: Brain, folder: Path, seed: int, module: str) -> dict[str, Any]:
    """Learn anew with a seed, and return what became of the module."""
    shutil.rmtree(folder / "modules", ignore_errors=True)
    with sqlite3.connect(gym_of(brain).path) as gym:
        gym.execute("DELETE FROM optimization_runs")  # each seed is the first use of the sealed conversations
    own = brain.settings.model_copy(update={"gepa_seed": seed, "gepa_breadth": 4, "gepa_depth": 2})
    other = Brain(own)
    result: dict[str, Any] = asyncio.run(optimize(other, modules=[module]))["module_results"][module]
    gym_of(other).close()
    return result


def _published(brain: Brain, folder: Path, seed: int, module: str) -> bool:
    return bool(_learn(brain, folder, seed, module)["status"] == "published")


def _reword(complete: Any) -> Any:
    def reword(self: EmbeddedTeacher, request: Any) -> Any:
        current = (
            request.messages[0].text.partition("<current_instruction>\n")[2].partition("\n</current_instruction>")[0]
        )
        answer = complete(self, request)
        text = f"<instruction>\nWork with care, and read everything twice.\n{current}\n</instruction>"
        return replace(answer, message=type(answer.message).assistant(text))

    return reword


def _relabel(path: Path, field: str, labels: tuple[str, ...], dice: random.Random) -> None:
    with sqlite3.connect(path) as gym:
        rows = gym.execute("SELECT id FROM evidence WHERE field = ?", (field,)).fetchall()
        drawn = [(json.dumps(dice.choice(labels)), row[0]) for row in rows]
        gym.executemany("UPDATE evidence SET value = ? WHERE id = ?", drawn)


def _right(brain: Brain, name: str, version: str) -> dict[str, float]:
    """Return how often a version is right on all sealed turns: by field, plain and balanced over its labels."""
    gym, faculty = gym_of(brain), MODULES[name]
    version = brain.versioning("star").latest(name) if version == "latest" else version
    brain.version(faculty, "star", Context(versions={name: version}))
    program: Any = brain.program(faculty, "star", version)
    with sqlite3.connect(gym.path) as db:
        sealed = {row[0] for row in db.execute("SELECT conversation_id FROM conversation_sides WHERE side = 'sealed'")}
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for decision in gym.decisions():
        truth = gym.truth(decision.conversation_id, decision.turn) if decision.conversation_id in sealed else {}
        known = [field for field in faculty.main_fields if isinstance(truth.get(field), str)]
        if known:
            history = gym.history(decision.conversation_id, decision.history_upto, 40)
            turn: dict[str, Any] = {"history": history, "message": decision.user_message, "state": None, "readings": {}}
            with dspy.context(lm=brain.student, adapter=AnswerAdapter(), disable_history=True, trace=None):
                answer = program(**faculty.inputs(turn))
            for field in known:
                right[field][truth[field]].append(answer[field] == truth[field])
    shares = {field: fmean(x for found in by_label.values() for x in found) for field, by_label in right.items()}
    balanced = {f"{field} balanced": fmean(map(fmean, by_label.values())) for field, by_label in right.items()}
    return {**shares, **balanced}


TRIALS: dict[str, Trial] = {
    "learn": real_conversations,
    "reword": only_words,
    "random": random_labels,
    "learn-kills": killed,
}

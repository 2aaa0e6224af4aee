"""Trials of dreaming on real conversations: what a cycle keeps, what the screen catches, what dreams teach."""

import argparse
import asyncio
import json
import math
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import dspy

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.dreaming import dream
from understudy.lm.adapter import AnswerAdapter
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.customer_data import finds
from understudy.nodes.job import builder_for
from understudy.nodes.memory import Memory, memory_of
from understudy.nodes.modules import PROGRAMS
from understudy.nodes.recall import intent_of
from understudy.nodes.scoring import content
from understudy.nodes.screen import Screen
from understudy.optimize import optimize
from understudy.replay import replay
from understudy.settings import Settings

PLANTED = 200
RARE = 15
SEEDS = 3


def cycle(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Dream of STAR, and look at the dreams from outside."""
    brain = _observed(data, folder)
    report = asyncio.run(dream(brain))
    made = report["dreams"] + report["screened_out"] + report["faults"] + report["beyond_the_share"]
    ok = (report["replayed"], report["invented"]) == (80, 20) and report["seconds"] < 20
    found = f"{report['replayed']} retold and {report['invented']} invented in {report['seconds']:.1f} s, budget 20"
    yield Line("a cycle of 100 dreams", ok, found)
    passed = report["dreams"] / made
    reasons = ", ".join(f"{why} {count}" for why, count in report["reasons"].items())
    yield Line("  the screen passes", passed >= 0.8, f"{passed:.1%} of {made}; dropped: {reasons or 'none'}")
    memory = asyncio.run(memory_of(brain, "trial", "star"))
    dreams = gym_of(brain).dreams.newest("star", 100)
    leaks = sum(bool(finds(m["text"], memory.corpus)) for one in dreams for m in one["conversation"]["messages"])
    yield Line("  a customer's data", leaks == 0, f"in {leaks} messages of {len(dreams)} dreams")
    agreed, real = _classified(brain, memory, dreams)
    yield Line("  a classifier agrees", agreed >= 0.8, f"with {agreed:.1%} of the intents; on real ones {real:.1%}")
    for kind, (caught, count) in _planted(brain, memory, dreams).items():
        yield Line(f"  planted: {kind}", caught / count >= 0.95, f"{caught} of {count} caught")
    gym_of(brain).close()


def rare(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Learn intent with and without dreams; an honest number either way."""
    right: dict[str, dict[str, list[float]]] = {"without": defaultdict(list), "with": defaultdict(list)}
    gains: dict[str, list[float]] = {"without": [], "with": []}
    for seed in range(SEEDS):
        for kind in right:
            brain = _observed(data, folder / f"{kind}{seed}", seed)
            if kind == "with":
                asyncio.run(dream(brain))
            result = asyncio.run(optimize(brain, modules=["intent"]))["module_results"]["intent"]
            gains[kind].append(result.get("improvement") or 0.0)
            for group, share in _right(brain, result["version"] or "v0.0").items():
                right[kind][group].append(share)
            gym_of(brain).close()
    for group in ("rare", "other"):
        before, after = (fmean(right[kind][group]) for kind in ("without", "with"))
        verdict = "gain" if after > before else "do not gain"
        found = f"{group} intents {verdict}: {before:.3f} -> {after:.3f} right, mean of {SEEDS} seeds"
        yield Line(f"dreams and {group} intents", True, found)
    found = " -> ".join(f"{fmean(gains[kind]):+.3f}" for kind in ("without", "with"))
    yield Line("  gain on sealed conversations", True, f"{found}, without and with dreams")


def _observed(data: Path, folder: Path, seed: int = 0) -> Brain:
    folder.mkdir(exist_ok=True)
    own = {"rl_gym_db_path": folder / "gym.db", "optimized_modules_dir": folder / "modules", "gepa_seed": seed}
    brain = Brain(Settings(brain_profile="star", personalize_enabled=False, **own))
    asyncio.run(replay([data / "star.jsonl"], brain))
    builder_for(brain, None).turns()  # every conversation gets its side
    return brain


def _classified(brain: Brain, memory: Memory, dreams: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Train on conversations that are no dream's parent and try dreams; train on half of them, try the other half."""
    parents = {name for one in dreams for name in one["parents"]}
    talks: dict[str, list[Any]] = defaultdict(list)
    for turn in builder_for(brain, None).turns():
        talks[turn.decision.conversation_id].append(turn)
    known = [
        (intent, " ".join(turn.decision.user_message for turn in turns))
        for name, turns in sorted(talks.items())
        if name not in parents and (intent := intent_of(turns))
    ]
    random.Random(3).shuffle(known)
    half = len(known) // 2
    model = _Nearest(known[:half])
    held = fmean(model.says(text) == intent for intent, text in known[half:])
    dreamt = [
        (one["intent"], " ".join(m["text"] for m in one["conversation"]["messages"] if m["role"] == "customer"))
        for one in dreams
    ]
    return fmean(_Nearest(known).says(text) == intent for intent, text in dreamt), held


class _Nearest:
    """The label whose texts are most alike: cosine of TF-IDF vectors with the mean of each label's."""

    def __init__(self, texts: Sequence[tuple[str, str]]) -> None:
        seen = Counter(word for _, text in texts for word in set(content(text)))
        self.rarity = {word: math.log((1 + len(texts)) / (1 + count)) + 1 for word, count in seen.items()}
        self.middles: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for label, text in texts:
            for word, value in self._vector(text).items():
                self.middles[label][word] += value
        self.lengths = {label: math.hypot(*middle.values()) for label, middle in self.middles.items()}

    def _vector(self, text: str) -> dict[str, float]:
        counts = Counter(word for word in content(text) if word in self.rarity)
        vector = {word: (1 + math.log(count)) * self.rarity[word] for word, count in counts.items()}
        length = math.hypot(*vector.values()) or 1.0
        return {word: value / length for word, value in vector.items()}

    def says(self, text: str) -> str:
        vector = self._vector(text)

        def alike(label: str) -> float:
            middle = self.middles[label]
            return sum(value * middle.get(word, 0.0) for word, value in vector.items()) / (self.lengths[label] or 1.0)

        return max(sorted(self.middles), key=alike)


Messages = list[dict[str, Any]]


def _planted(brain: Brain, memory: Memory, dreams: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Damage dreams that have passed, one kind of damage at a time, and count how many are caught."""
    dice, found = random.Random(9), {}
    for kind, damage in damages(memory, dice).items():
        gate = Screen(memory, gym_of(brain))
        for one in dreams if kind == "another dream again" else ():
            gate.passed(one["conversation"])
        caught = 0
        for _ in range(PLANTED):
            messages = [dict(message) for message in dice.choice(dreams)["conversation"]["messages"]]
            caught += gate.reason({"messages": damage(messages)}) is not None
        found[kind] = (caught, PLANTED)
    return found


def damages(memory: Memory, dice: random.Random) -> dict[str, Callable[[Messages], Any]]:
    """Return what can be wrong with a dream, as what does it to one."""
    real = [event.text or "" for events in memory.said.values() for event in events if event.kind == "customer_message"]
    long = [text for text in real if len(text.split()) >= 9]
    talks = [[{"role": line["role"], "text": line["text"]} for line in memory.lines(name)[:12]] for name in memory.said]
    talks = [talk for talk in talks if len(talk) > 3]
    broken: list[Any] = [None, "hello", [1, 2], [{"role": "bot", "text": "x"}], [{}]]
    addresses = [" it is a.b@example.com", " call 555 123 4567", " see www.a.example"]

    def say(change: Callable[[str], str]) -> Callable[[Messages], Messages]:
        def one(messages: Messages) -> Messages:
            customer = dice.choice([message for message in messages if message["role"] == "customer"])
            customer["text"] = change(customer["text"])
            return messages

        return one

    def put(side: str, **values: Any) -> Callable[[Messages], Messages]:
        return lambda messages: [{**m, **(values if m["role"] == side else {})} for m in messages]

    def copied(messages: Messages) -> Messages:
        talk = [dict(message) for message in dice.choice(talks)]
        talk[0]["text"] += " hello"
        return talk

    return {
        "unreadable": lambda messages: dice.choice(broken),
        "empty message": say(lambda text: dice.choice(["", "   ", "..."])),
        "one-sided": put("agent", role="customer"),
        "too long": say(lambda text: " ".join(["word"] * 200)),
        "too short": lambda messages: messages[:1],
        "a customer's words": say(lambda text: dice.choice(long)),
        "an address": say(lambda text: text + dice.choice(addresses)),
        "a real conversation": copied,
        "another dream again": say(lambda text: f"{text} please"),
        "off the profile": put("customer", text="qwer asdf zxcv uiop hjkl bnmm"),
        "an unknown label": put("customer", labels={"intent": "world_domination"}),
        "an unknown action": put("agent", action="launch"),
    }


def _right(brain: Brain, version: str) -> dict[str, float]:
    """Return how often a version names the intent on sealed turns, of rare intents and of the others."""
    gym, faculty = gym_of(brain), PROGRAMS["intent"]
    program = brain.loaded(faculty, "star", version)
    with sqlite3.connect(gym.path) as db:
        told = db.execute("SELECT conversation_id, value FROM evidence WHERE field = 'intent'").fetchall()
        sealed = {row[0] for row in db.execute("SELECT conversation_id FROM conversation_sides WHERE side = 'sealed'")}
    talks: dict[str, set[str]] = defaultdict(set)
    for name, value in told:
        talks[json.loads(value)].add(name)
    right: dict[str, list[bool]] = defaultdict(list)
    for decision in gym.decisions():
        truth = gym.truth(decision.conversation_id, decision.turn).get("intent")
        if truth is None or decision.conversation_id not in sealed:
            continue
        history = gym.history(decision.conversation_id, decision.history_upto, 40)
        with dspy.context(lm=brain.student, adapter=AnswerAdapter(), disable_history=True, trace=None):
            answer = program(**faculty.shown(decision, history))
        right["rare" if len(talks[truth]) < RARE else "other"].append(answer.intent == truth)
    return {group: fmean(found) for group, found in right.items()}


TRIALS: dict[str, Trial] = {"dream": cycle, "dream-rare": rare}

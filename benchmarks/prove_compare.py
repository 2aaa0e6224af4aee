"""Trials of comparing: A/B tests on real conversations, and what a personal touch may change; part of `make prove`."""

import argparse
import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from understudy.benchmarks.prove_ollama import Line, Trial
from understudy.events import Line as Said
from understudy.nodes.ab_life import begin, statistics
from understudy.nodes.brain import Brain, gym_of
from understudy.nodes.job import with_instruction
from understudy.nodes.modules import PROGRAMS
from understudy.nodes.personalize import MessagePersonalizer
from understudy.optimize import optimize
from understudy.replay import replay
from understudy.settings import Settings

LEARNT = 300
REPLIES = 500

PROFILES: dict[str, dict[str, Any]] = {
    "nothing known": {},
    "name": {"name": "Ines Duarte"},
    "formal": {"name": "Dr. Amara Osei", "preferences": {"formality": "formal"}},
    "casual": {"name": "Ben", "preferences": {"formality": "casual"}},
    "emoji": {"preferences": {"emoji": True}},
    "no emoji, formal": {"preferences": {"emoji": False, "formality": "formal"}},
    "short": {"name": "Li Wei", "preferences": {"length": "short"}},
    "long, formal": {"preferences": {"length": "long", "formality": "formal"}},
    "casual with emoji": {"name": "Zoe", "preferences": {"formality": "casual", "emoji": True}},
    "friendly": {"name": "Omar", "preferences": {"tone": "friendly"}},
}
"""Ten customers, as a host may describe them."""


def tests(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Learn from half of STAR, and let versions of intent answer the other half side by side."""
    lines = (data / "star.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    first, rest = folder / "first.jsonl", folder / "rest.jsonl"
    first.write_text("".join(lines[:LEARNT]), encoding="utf-8")
    rest.write_text("".join(lines[LEARNT:]), encoding="utf-8")
    brain = _brain(folder)
    asyncio.run(replay([first], brain))
    learnt = asyncio.run(optimize(brain, modules=["intent"]))["module_results"]["intent"]
    became = f"intent {learnt['status']}: {learnt['reason']}"
    yield Line("A/B: learnt from 300", learnt["status"] == "published", became)
    gym_of(brain).close()

    good, bad = learnt["version"], "v1.1"
    cases = {
        "v0.0 against published": ("v0.0", good, "B", f"{good} stays in use"),
        "a version against itself": (good, good, None, f"{good} stays in use"),
        "a damaged version in use": (good, bad, "A", f"{good} is in use again, {bad} is rolled back"),
        "a better candidate": (bad, "v1.2", "B", f"v1.2 is published, {bad} was in use before"),
    }
    for name, (a, b, verdict, follows) in cases.items():
        found = _tested(folder, name.replace(" ", "-"), rest, good, a, b)
        lo, hi = found["interval"]
        said = (
            f"{found['verdict']} after {found['sample_size']}, B - A in [{lo:+.3f}, {hi:+.3f}], e {found['e_value']:g};"
            f" {found['consequence']}"
        )
        yield Line(f"  {name}", found["recommended_winner"] == verdict and found["consequence"] == follows, said)


def _tested(folder: Path, name: str, rest: Path, good: str, a: str, b: str) -> dict[str, Any]:
    """Observe the rest in a gym of its own with the versions of the first, and return how the test went."""
    own = folder / f"{name}.db"
    quick = {"rl_gym_db_path": own, "ab_max_conversations": 290, "personalize_enabled": False}
    brain = Brain(_brain(folder).settings.model_copy(update=quick))
    versioning = brain.versioning("star")
    if b in ("v1.1", "v1.2") and b not in versioning.list_versions("intent"):
        program = brain.loaded(PROGRAMS["intent"], "star", good)
        text = program.signature.instructions
        damaged = re.sub(r'"[^"]+"', '"zzz"', text) if b == "v1.1" else text
        status = "published" if b == "v1.1" else "candidate"
        versioning.save_next("intent", with_instruction(program, damaged), {"status": status})
    if "v1.1" in (a, b):
        versioning.publish("intent", "v1.1", "for the trial")
    trial = begin(brain, "star", "intent", a, b)
    asyncio.run(replay([rest], brain))
    found = statistics(brain, trial.name)
    gym_of(brain).close()
    return found


def _brain(folder: Path) -> Brain:
    return Brain(
        Settings(brain_profile="star", rl_gym_db_path=folder / "gym.db", optimized_modules_dir=folder / "modules")
    )


def touches(data: Path, folder: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Personalise real replies for ten customers: most change, and nothing is lost."""
    personalizer = MessagePersonalizer(brain=_brain(folder))
    replies = list(islice(_replies(data / "star.jsonl"), REPLIES))
    accepted = changed = 0
    lost: Counter[str] = Counter()
    for name, customer in PROFILES.items():
        status = Counter(found.status for found in asyncio.run(_personalised(personalizer, replies, customer, lost)))
        taken = status["accepted"] + status["unchanged"]
        accepted, changed = accepted + taken, changed + status["accepted"]
        found = f"{taken / len(replies):.1%} accepted, {status['accepted'] / max(taken, 1):.1%} of these changed"
        yield Line(f"  {name}", True, found)
    total = len(replies) * len(PROFILES)
    ok = accepted / total >= 0.7 and changed / max(accepted, 1) >= 0.6 and not lost
    found = f"{accepted / total:.1%} of {total:,} accepted, {changed / max(accepted, 1):.1%} of these changed; lost: "
    yield Line("a personal touch", ok, found + (", ".join(f"{what} {n}" for what, n in lost.items()) or "nothing"))


async def _personalised(
    personalizer: MessagePersonalizer,
    replies: list[tuple[str, list[Said]]],
    customer: Mapping[str, Any],
    lost: Counter[str],
) -> list[Any]:
    found = []
    for reply, history in replies:
        suggestion = await personalizer.apersonalize(reply, customer=customer, history=history)
        if suggestion.status == "accepted":
            lost.update(what for what in KEPT if not _same(what, reply, suggestion.personalized_message))
        found.append(suggestion)
    return found


KEPT = {
    "digits": r"\d+",
    "links": r"\S+(?:://|@)\S+",
    "currency": r"[$€£¥]",
    "weekdays and months": r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\b(?:january|february|march|april|june|july"
    r"|august|september|october|november|december)\b",
    "negations": r"\b(?:not|no|never|none|nothing|cannot)\b|n['’]t\b",
}
"""Another look at what must be kept, with patterns that are not the program's own check."""


def _same(what: str, reply: str, other: str) -> bool:
    first, second = (
        Counter("not" if what == "negations" else found for found in re.findall(KEPT[what], text.lower()))
        for text in (reply, other)
    )
    return first == second


def _replies(path: Path) -> Iterator[tuple[str, list[Said]]]:
    """Yield agents' replies with the conversation before them, at random places, the same ones every time."""
    dice = random.Random(6)
    lines = path.read_text(encoding="utf-8").splitlines()
    dice.shuffle(lines)
    for line in lines:
        messages = json.loads(line)["messages"]
        places = [i for i, message in enumerate(messages) if message["role"] == "agent" and i]
        for place in sorted(dice.sample(places, min(2, len(places)))):
            said = [Said(role=message["role"], text=message["text"]) for message in messages[:place]]
            yield messages[place]["text"], said


TRIALS: dict[str, Trial] = {"compare": tests, "personal": touches}

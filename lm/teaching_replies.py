"""Which reply goes with which step: one that many agents gave, nearest to those that worked."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from understudy.lm.teaching_material import Case
from understudy.lm.teaching_privacy import COMMON, Quotes
from understudy.lm.words import clean

CAPPED = 0.7
PRIOR = 2.0
LEAST_LIKE = 0.2
LONGEST_REPLY = 200


@lru_cache(maxsize=8192)
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def _likeness(text: str, other: str) -> float:
    mine, theirs = Counter(_words(text)), Counter(_words(other))
    total = mine.total() + theirs.total()
    return min(CAPPED, 2 * (mine & theirs).total() / total) if total else 0.0


def common_replies(cases: Iterable[Case]) -> list[str]:
    """Return the replies that agents of enough conversations gave in nearly the same words."""
    forms: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    talks: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for case in cases:
        given = [turn["text"] for turn in case.turns if turn.get("role") == "agent"]
        worked = case.right.get("proposed_response")
        for text in [*given, *([worked] if isinstance(worked, str) else [])]:
            forms[_words(text)][clean(text)] += 1
            talks[_words(text)].add(case.talk)
    usable = [words for words, among in talks.items() if len(among) >= COMMON and len(words) >= 3]
    found = [min(forms[words].most_common(), key=lambda form: (-form[1], form[0]))[0] for words in usable]
    return sorted(text for text in found if len(text) <= LONGEST_REPLY and _quotable(text))


def _quotable(text: str) -> bool:
    return not re.search(r"\d|[\"“”«»@_/]|www", text)


def wanted(cases: Iterable[Case]) -> dict[str, list[tuple[str, float]]]:
    """Return by step what agents said: replies that worked when the step was foreseen, and those that took it."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    taken: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for case in cases:
        worked, step = case.right.get("proposed_response"), _foreseen(case)
        if isinstance(worked, str) and step:
            found[step].append((clean(worked), 1.0))
        for turn in case.turns:
            if turn.get("action"):
                taken[turn["action"]][case.talk, clean(turn["text"])] = None
    for step, texts in taken.items():
        found[step].extend((text, PRIOR / len(texts)) for _, text in texts)
    return found


def _foreseen(case: Case) -> str:
    intent = case.inputs.get("intent")
    return str(intent.get("next_step") or "") if isinstance(intent, dict) else ""


def teach_replies(cases: Sequence[Case], before: Mapping[str, str], quotes: Quotes) -> dict[str, str]:
    """Return the best reply for each step; the one so far stays where nothing is better."""
    usable = {_words(text): text for text in common_replies(cases) if not quotes.in_(text)}
    best = dict(before)
    for step, given in sorted(wanted(cases).items()):
        if re.fullmatch(r"\w+", step):
            own = {usable[_words(text)]: None for text, _ in given if _words(text) in usable}
            tried = [*([before[step]] if step in before else []), *own]
            scores = {text: sum(weight * _likeness(text, other) for other, weight in given) for text in tried}
            top = max(tried, key=lambda text: scores[text], default="")
            if top and scores[top] >= LEAST_LIKE * sum(weight for _, weight in given):
                best[step] = top
            else:
                best.pop(step, None)
    return best

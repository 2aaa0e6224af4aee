"""What the five metrics share: weighted components, words in common, honest confidence.

A component whose score is None has no evidence: it is left out and the weights of the rest are scaled up.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import dspy

Component = tuple[str, float, float | None, str]
"""Name, weight, score in 0..1 or None without evidence, and what was wrong and would have been right."""

FAILED = 0.0
"""The score of a program that could not answer."""

STOP_WORDS = frozenset(
    "a about after again all also am an and any are as at be because been before being but by can could did do "
    "does doing done down for from get got had has have he her here him his how i if in into is it its just let "
    "like may me might more most much my no nor not now of off on once only or other our out over own please said "
    "same say says she should so some such than that the their them then there these they this those through to "
    "too under until up us very was we were what when where which while who why will with would yes you your "
    "customer agent message".split()
)


def verdict(components: Iterable[Component]) -> dspy.Prediction:
    """Join components to `dspy.Prediction(score=0..1, feedback=one line a component)`, as GEPA reads it."""
    known = [(name, weight, score, words) for name, weight, score, words in components if score is not None]
    total = sum(weight for _, weight, _, _ in known)
    score = sum(weight * score for _, weight, score, _ in known) / total if total else 0.0
    lines = [f"{name} {score:.2f}: {words}" for name, _, score, words in known]
    return dspy.Prediction(score=score, feedback="\n".join(lines) or "There is no evidence for this example.")


def matched(name: str, weight: float, said: Any, right: Any) -> Component:
    """Score a label against the true one."""
    if right is None:
        return (name, weight, None, "")
    if said == right:
        return (name, weight, 1.0, f"{quoted(right)} is right.")
    return (
        name,
        weight,
        0.0,
        f"said {'nothing' if said is None else quoted(str(said)[:200])}; right is {quoted(right)}.",
    )


def quoted(text: Any) -> str:
    """Quote a text in one line, without escapes: after one, the word that a redaction looks for begins with its `n`."""
    line = " ".join(str(text).split())
    return f'"{line}"' if "'" in line else f"'{line}'"


def overlapping(name: str, weight: float, said: Any, right: Any) -> Component:
    """Score a set of labels by F1; two empty sets agree, but no set is no answer."""
    if not isinstance(right, list | tuple):
        return (name, weight, None, "")
    mine, true = set(listed(said)), set(listed(right))
    if not isinstance(said, list | tuple):
        return (name, weight, 0.0, f"no list was given; right is {', '.join(sorted(true)) or 'an empty one'}.")
    score = _f1(len(mine & true), len(mine), len(true))
    missing, extra = sorted(true - mine), sorted(mine - true)
    words = "; ".join(
        part
        for part in (f"missing {', '.join(missing)}" if missing else "", f"wrong {', '.join(extra)}" if extra else "")
        if part
    )
    return (name, weight, score, words + "." if words else "complete and right.")


def agreeing(said: Any, right: Any) -> float:
    """Say how right a field is, 0..1: a label or a text by equality, a list by F1, a number by its distance."""
    if isinstance(right, list | tuple):
        score = overlapping("", 1, said, right)[2]
    elif number(right) is not None:
        score = close("", 1, said, right)[2]
    else:
        score = matched("", 1, said, right)[2]
    return score or 0.0


def honest(weight: float, confidence: Any, correct: float | None) -> Component:
    """Score a confidence by the quadratic rule 1 - (confidence - correct)^2 (Brier 1950), so that honesty pays."""
    if correct is None:
        return ("confidence", weight, None, "")
    stated = number(confidence)
    if stated is None:
        return ("confidence", weight, 0.0, "no confidence was given.")
    words = f"{stated:.2f} was stated and the answer was {'right' if correct >= 0.5 else 'wrong'}."
    return ("confidence", weight, 1 - (stated - correct) ** 2, words)


def close(name: str, weight: float, said: Any, right: Any) -> Component:
    """Score a number in 0..1 by its distance to the true one."""
    true, mine = number(right), number(said)
    if true is None:
        return (name, weight, None, "")
    if mine is None:
        return (name, weight, 0.0, f"no number was given; right is {true:.2f}.")
    return (name, weight, 1 - abs(mine - true), f"said {mine:.2f}; right is {true:.2f}.")


def grounded(weight: float, text: Any, gold: Mapping[str, Any], labels: Iterable[str]) -> Component:
    """Score a reasoning by the share of its content words that the conversation holds; label words do not count.

    At least three different ones are wanted, and not the whole message or conversation again.
    """
    label_words = {word for label in labels for word in words(label)}
    mine = {word for word in content(text) if word not in label_words}
    if not mine:
        return ("reasoning", weight, 0.0, "it names nothing from the conversation.")
    message, said = set(content(gold.get("message"))), set(content(conversation_text(gold)))
    score = len(mine & said) / len(mine) * min(1.0, len(mine) / 3)
    copied = any(len(shown) > 5 and len(mine & shown) > 0.8 * len(shown) for shown in (message, said))
    if copied or echoes(text, gold.get("message")):
        return ("reasoning", weight, 0.2 * score, "it repeats what was said; name the few words that decided.")
    advice = "it rests on what was said." if score > 0.6 else "name the words of the conversation that decided."
    return ("reasoning", weight, score, advice)


def similarity(text: str, other: str) -> float:
    """Return the F1 of two texts' words, 0..1."""
    mine, theirs = Counter(words(text)), Counter(words(other))
    return _f1((mine & theirs).total(), mine.total(), theirs.total()) if mine or theirs else 0.0


def echoes(text: Any, message: Any) -> bool:
    """Say whether a text gives a message back: whole, with a few words more, several times, or a long piece of it."""
    mine, theirs = words(text), words(message)
    if not mine or not theirs:
        return False
    piece = len(mine) >= 5 and f" {' '.join(mine)} " in f" {' '.join(theirs)} "
    return piece or _f1(len(set(mine) & set(theirs)), len(set(mine)), len(set(theirs))) > 0.8


def alike(name: str, weight: float, said: Any, right: Any) -> Component:
    """Score a list of free phrases by the F1 of their content words; two empty lists agree, but none is no answer."""
    if not isinstance(right, list | tuple):
        return (name, weight, None, "")
    mine = {word for phrase in listed(said) for word in content(phrase)}
    true = {word for phrase in right for word in content(phrase)}
    score = _f1(len(mine & true), len(mine), len(true)) if isinstance(said, list | tuple) else 0.0
    return (name, weight, score, f"right is {'; '.join(listed(right)) or 'to name none'}.")


def conversation_text(gold: Mapping[str, Any]) -> str:
    """Join all that a module was shown of a conversation."""
    history = gold.get("history")
    lines = [line for line in history if isinstance(line, Mapping)] if isinstance(history, list | tuple) else []
    return "\n".join([*(str(line.get("text", "")) for line in lines), str(gold.get("message") or "")])


def words(text: Any) -> list[str]:
    """Return the words of a text in lower case; a label's parts are words."""
    return re.findall(r"[^\W_]+", str(text or "").lower())


def content(text: Any) -> list[str]:
    """Return the words that carry meaning."""
    return [word for word in words(text) if word not in STOP_WORDS and len(word) > 1]


def listed(value: Any) -> list[str]:
    """Return the texts of a list; anything else holds none."""
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def number(value: Any) -> float | None:
    """Return a score in 0..1, or None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= 1 else None


def _f1(common: int, mine: int, true: int) -> float:
    return 1.0 if mine == true == 0 else 2 * common / (mine + true)


def mean(scores: Collection[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return sum(scores) / len(scores) if scores else None

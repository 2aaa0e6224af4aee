"""Teach the embedded student STAR with rules learnt from 300 conversations and try it on the other 300.

python -m understudy.benchmarks.star_rules [../shared/data/star.jsonl] [--swap] [--show]
"""

import argparse
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.lm.answering import DEFAULT_PULL, SHARPNESS, begin, decide, label_scores
from understudy.lm.embedded import answer
from understudy.lm.evidence import EARLIER, pack, study
from understudy.lm.words import ANYWHERE, MESSAGE, STOP_WORDS, read_scene, read_text

Conversation = dict[str, Any]
LIMIT = 6000
STEP_STRENGTHS = (1.0, 2.0)
EAGER = 0.5
STRENGTHS = (0.5, 1.0, 2.0)


@dataclass
class Turn:
    """A customer message with what came before it and what is known of it."""

    inputs: dict[str, Any]
    labels: dict[str, Any]
    next_action: str | None
    intent: str
    first: bool
    talk: str


def load(path: Path) -> list[Conversation]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def turns(conversation: Conversation) -> Iterator[Turn]:
    messages = conversation["messages"]
    intent = next((m["labels"]["intent"] for m in messages if "intent" in m.get("labels", {})), "")
    seen = False
    for i, message in enumerate(messages):
        if message["role"] != "customer":
            continue
        history = [{k: m[k] for k in ("role", "text", "action") if k in m} for m in messages[:i]]
        labels = message.get("labels", {})
        following = messages[i + 1] if i + 1 < len(messages) else {}
        action = following.get("action") if following.get("role") == "agent" else None
        first = "intent" in labels and not seen
        seen = seen or first
        yield Turn(
            {"history": history, "message": message["text"], "state": {}},
            labels,
            action,
            intent,
            first,
            conversation["conversation_id"],
        )


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def schemas(rows: Sequence[Conversation]) -> dict[str, dict[str, Any]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for message in row["messages"]:
            found["next_step"].update(filter(None, [message.get("action")]))
            for name, value in message.get("labels", {}).items():
                found[name].update(value if isinstance(value, list) else [value])
    enum = {name: {"type": "string", "enum": sorted(values)} for name, values in found.items()}
    number, text = {"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}
    return {
        "intent": schema(intent=enum["intent"], next_step=enum["next_step"], confidence=number),
        "conflict": schema(conflict_type=enum["conflict_type"], confidence=number, reasoning=text),
        "goals": schema(
            main_goal=enum["intent"],
            sub_goals={"type": "array", "items": enum["intent"]},
            required_info={"type": "array", "items": enum["required_info"]},
        ),
    }


BARE = {
    "intent": "Read the conversation and say what the customer wants and what the agent does next.",
    "conflict": "Read the conversation and say which conflict is going on.",
    "goals": "Read the conversation and say what the customer wants and which data the customer has given.",
}


Bag = dict[str, float]


class Table:
    """Which features each turn has, weighed as the student weighs them; only features that tell labels apart."""

    def __init__(
        self,
        bags: Sequence[Bag],
        wanted: Sequence[str],
        talks: Sequence[str],
        said: Mapping[str, str],
        least: int,
        most: int,
    ) -> None:
        keep = _telling(bags, wanted, talks, least, most)
        self.said = said
        self.rows = [[(p, w) for p, w in bag.items() if p in keep] for bag in bags]
        self.columns: dict[str, list[tuple[int, float]]] = {p: [] for p in sorted(keep)}
        for i, row in enumerate(self.rows):
            for p, w in row:
                self.columns[p].append((i, w))


def phrase_bags(items: Sequence[Turn], only: int = ANYWHERE) -> tuple[list[Bag], dict[str, str]]:
    """Give each turn's phrases with their weight, and the commonest way each phrase was written."""
    surface: dict[str, Counter[str]] = defaultdict(Counter)
    bags = []
    for item in items:
        bag: Bag = {}
        for text, place in read_scene(item.inputs).spots:
            if not place & only:
                continue
            weight = 1.0 if place & MESSAGE else EARLIER
            for phrase, said in grams(text):
                bag[phrase] = max(weight, bag.get(phrase, 0.0))
                surface[phrase][said] += 1
        bags.append(bag)
    return bags, {p: c.most_common(1)[0][0] for p, c in surface.items()}


def _telling(bags: Sequence[Bag], wanted: Sequence[str], talks: Sequence[str], least: int, most: int) -> set[str]:
    spread = Counter(p for bag in bags for p in bag)
    heard = Counter(p for p, _ in {(p, talk) for bag, talk in zip(bags, talks, strict=True) for p in bag})
    within: dict[str, Counter[str]] = defaultdict(Counter)
    for bag, label in zip(bags, wanted, strict=True):
        within[label].update(bag.keys())
    size, total, keep = Counter(wanted), len(bags), set()
    for label, counts in within.items():
        share = size[label] / total
        gain = {
            p: (n - share * spread[p]) ** 2 / (spread[p] * share * (1 - share) + 2)
            for p, n in counts.items()
            if heard[p] >= least and n > share * spread[p]
        }
        keep.update(sorted(gain, key=lambda p: (-gain[p], p))[:most])
    return keep


def grams(text: str) -> list[tuple[str, str]]:
    read = read_text(text)
    words = [(s, w.lower()) for s, w in zip(read.stems, read.spoken) if s[0] not in "!?."]
    found = [(s, w) for s, w in words if s not in STOP_WORDS or len(s) > 3]
    for n in (2, 3):
        for i in range(len(words) - n + 1):
            part = words[i : i + n]
            found.append((" ".join(s for s, _ in part), " ".join(w for _, w in part)))
    return found


class Learner:
    """Greedy choice of cues: each time the cue and label that lower the log loss most for its length."""

    def __init__(self, table: Table, wanted: Sequence[str], labels: Sequence[str], logits: list[list[float]],
        strengths: tuple[float, ...] = STRENGTHS) -> None:
        self.table, self.labels, self.logits = table, labels, logits
        self.wanted = [labels.index(w) for w in wanted]
        self.slope = {p: [0.0] * len(labels) for p in table.columns}
        self.curve = {p: [0.0] * len(labels) for p in table.columns}
        self.odds: list[list[float]] = [[] for _ in logits]
        self.weights: dict[str, dict[str, float]] = defaultdict(dict)
        self.strengths = strengths
        self.steps: list[tuple[str, str, float]] = []
        self.spent = 0
        for i in range(len(logits)):
            self._refresh(i)

    def first(self, n: int) -> dict[str, dict[str, float]]:
        """Give the first n choices as label -> cue -> strength."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for label, phrase, strength in self.steps[:n]:
            found[label][phrase] = strength
        return found

    def _refresh(self, i: int) -> None:
        logits, old = self.logits[i], self.odds[i]
        top = max(logits)
        parts = [math.exp(z - top) for z in logits]
        total = sum(parts)
        new = [part / total for part in parts]
        self.odds[i] = new
        if old:
            moved = [
                (k, o - n, n * (1 - n) - o * (1 - o)) for k, (n, o) in enumerate(zip(new, old)) if abs(n - o) > 1e-4
            ]
        else:
            moved = [(k, float(k == self.wanted[i]) - n, n * (1 - n)) for k, n in enumerate(new)]
        for phrase, x in self.table.rows[i]:
            slope, curve = self.slope[phrase], self.curve[phrase]
            for k, by, bend in moved:
                slope[k] += x * by
                curve[k] += x * x * bend

    def best(self, shrink: float) -> tuple[float, str, int]:
        """Give the largest gain with its cue and label."""
        found = (0.0, "", 0)
        for phrase, slope in self.slope.items():
            size = len(self.table.said[phrase]) + 4
            curve = self.curve[phrase]
            for k, by in enumerate(slope):
                if by > 0 and self.weights[self.labels[k]].get(phrase, 0.0) < self.strengths[-1]:
                    cost = size + (0 if self.weights[self.labels[k]] else len(self.labels[k]) + 4)
                    found = max(found, (by * by / (curve[k] + shrink) / cost**EAGER, phrase, k))
        return found

    def add(self, phrase: str, k: int, shrink: float) -> None:
        """Raise a cue to the strength nearest to the best step."""
        label = self.labels[k]
        self.spent += 0 if self.weights[label] else len(label) + 4
        self.spent += 0 if phrase in self.weights[label] else len(self.table.said[phrase]) + 4
        old = self.weights[label].get(phrase, 0.0)
        step = old + self.slope[phrase][k] / (self.curve[phrase][k] + shrink) / SHARPNESS
        new = min((s for s in self.strengths if s > old), key=lambda s: abs(s - step))
        self.weights[label][phrase] = new
        self.steps.append((label, phrase, new))
        for i, x in self.table.columns[phrase]:
            self.logits[i][k] += SHARPNESS * (new - old) * x
            self._refresh(i)


def learn(learner: Learner, room: int, shrink: float, scope: str = "") -> str:
    """Pick cues until they fill the room, then write as many of them as fit."""
    for _ in range(1000):
        gain, phrase, k = learner.best(shrink)
        if gain < 1e-3 or learner.spent > room:
            break
        learner.add(phrase, k, shrink)
    fits, over = 0, len(learner.steps) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        small = len(write_lines(learner.first(middle), learner.table.said, scope)) <= room
        fits, over = (middle, over) if small else (fits, middle)
    return write_lines(learner.first(fits), learner.table.said, scope)


def base_scores(items: Sequence[Turn], form: dict[str, Any], name: str, text: str) -> list[list[float]]:
    """Give the student's own logits for a field under an instruction, before examples and default."""
    book = study(text, pack(form), ())
    one = next(f for f in book.fields if f.name == name)
    rows = []
    for item in items:
        turn = begin(book, item.inputs)
        for earlier in book.fields[: book.fields.index(one)]:
            decide(earlier, turn)
        scores = label_scores(one, turn)
        rows.append([SHARPNESS * scores.get(label, 0.0) for label in one.labels])
    return rows


def write_lines(weights: Mapping[str, Mapping[str, float]], said: Mapping[str, str], scope: str = "") -> str:
    """Write rules as lines, the strongest cues first; a feature `<step` is a step the agent has just taken."""
    lines = []
    for label, cues in sorted(weights.items()):
        groups = []
        for strength, word in ((2.0, "surely "), (1.0, ""), (0.5, "perhaps ")):
            steps = [cue[1:] for cue, w in cues.items() if w == strength and cue[0] == "<"]
            words = [f'"{said[cue]}"' for cue, w in cues.items() if w == strength and cue[0] != "<"]
            groups += [f"{word}after " + ", ".join(steps)] if steps else []
            groups += [word + scope + ", ".join(words)] if words else []
        lines.append(f"- {label}: " + "; ".join(groups))
    return "\n".join(lines)


def intent_rules(items: Sequence[Turn], form: dict[str, Any], budget: int, shrink: float = 3.0, least: int = 5) -> str:
    """Find the words that tell the intents apart."""
    labels, wanted = form["properties"]["intent"]["enum"], [t.intent for t in items]
    bags, said = phrase_bags(items)
    table = Table(bags, wanted, [t.talk for t in items], said, least, 40)
    learner = Learner(table, wanted, labels, base_scores(items, form, "intent", BARE["intent"]))
    return learn(learner, budget, shrink)


def last_step(item: Turn) -> str:
    """Give the last step the agent took before a turn."""
    return next((m["action"] for m in reversed(item.inputs["history"]) if m.get("action")), "start")


def step_rules(
    items: Sequence[Turn], form: dict[str, Any], words: str, budget: int, shrink: float = 3.0, least: int = 5
) -> str:
    """Find which step follows which, and the words of the message that decide between them."""
    items = [t for t in items if t.next_action]
    labels, wanted = form["properties"]["next_step"]["enum"], [str(t.next_action) for t in items]
    bags, said = phrase_bags(items, MESSAGE)
    for item, bag in zip(items, bags, strict=True):
        step = "<" + last_step(item)
        bag[step], said[step] = 1.0, step[1:]
    table = Table(bags, wanted, [t.talk for t in items], said, least, 12)
    learner = Learner(table, wanted, labels, base_scores(items, form, "next_step", words), STEP_STRENGTHS)
    return learn(learner, budget, shrink, "now ")


def conflict_rules(
    items: Sequence[Turn], form: dict[str, Any], budget: int, shrink: float = 4.0, least: int = 4
) -> str:
    """Find the words that come with a conflict."""
    labels, wanted = form["properties"]["conflict_type"]["enum"], [t.labels["conflict_type"] for t in items]
    bags, said = phrase_bags(items)
    base = [[DEFAULT_PULL * (label == "none") for label in labels] for _ in items]
    learner = Learner(Table(bags, wanted, [t.talk for t in items], said, least, 150), wanted, labels, base)
    return BARE["conflict"] + "\n" + learn(learner, budget, shrink) + "\nOtherwise none."


def info_rules(items: Sequence[Turn], room: int) -> str:
    """Find the steps after which a piece of data is there; steps that tell the same share a line."""
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    seen: Counter[str] = Counter()
    for item in items:
        if "required_info" in item.labels:
            for step in {m["action"] for m in item.inputs["history"] if m.get("action")}:
                seen[step] += 1
                asked[step].update(item.labels["required_info"])
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for step, names in sorted(asked.items()):
        told = tuple(sorted(n for n, count in names.items() if count >= 2 and count / seen[step] >= 0.5))
        if told:
            lines[told].append(step)
    text = BARE["goals"]
    for told, steps in sorted(lines.items(), key=lambda line: (-sum(seen[s] for s in line[1]), line)):
        more = "\n- " + ", ".join(told) + ": " + ", ".join(steps)
        text += more if len(text) + len(more) <= room else ""
    return text


def instructions(rows: Sequence[Conversation], forms: Mapping[str, Any], split: int = 1900) -> dict[str, str]:
    """Write the three instructions, each at most LIMIT characters, from labelled conversations."""
    items = [t for row in rows for t in turns(row)]
    late = [t for row in rows for t in list(turns(row))[2:] if t.intent]
    words = BARE["intent"] + "\n" + intent_rules(late, forms["intent"], split)
    steps = step_rules(items, forms["intent"], words, LIMIT - len(words) - 20)
    judged = [t for t in items if "conflict_type" in t.labels]
    found = {
        "intent": words + "\nNext step:\n" + steps,
        "conflict": conflict_rules(judged, forms["conflict"], 1500),
        "goals": info_rules(items, LIMIT - 200),
    }
    return {name: text[:LIMIT] for name, text in found.items()}


def auc(pairs: Sequence[tuple[float, bool]]) -> float:
    good = [s for s, hit in pairs if hit]
    bad = [s for s, hit in pairs if not hit]
    wins = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    return wins / max(1, len(good) * len(bad))


def measure(
    rows: Sequence[Conversation], forms: Mapping[str, Any], texts: Mapping[str, str], examples: Any = None
) -> dict[str, float]:
    examples = examples or {}
    right: dict[str, list[bool]] = defaultdict(list)
    pairs, counts, sure = [], Counter(), []
    seconds, answers = 0.0, 0
    for row in rows:
        for item in turns(row):
            started = time.perf_counter()
            got = answer(texts["intent"], forms["intent"], examples.get("intent", []), item.inputs)
            seconds, answers = seconds + time.perf_counter() - started, answers + 1
            if item.next_action:
                right["next step"].append(got["next_step"] == item.next_action)
            if "intent" in item.labels:
                hit = got["intent"] == item.labels["intent"]
                right["intent"].append(hit)
                sure.append((got["confidence"], hit))
                if item.first:
                    right["intent, first turn"].append(hit)
            if "conflict_type" in item.labels:
                said = answer(texts["conflict"], forms["conflict"], examples.get("conflict", []), item.inputs)
                risk = said["confidence"] if said["conflict_type"] == "frustration" else 1 - said["confidence"]
                pairs.append((risk, item.labels["conflict_type"] == "frustration"))
            if "required_info" in item.labels:
                said = answer(texts["goals"], forms["goals"], examples.get("goals", []), item.inputs)
                given, true = set(said["required_info"]), set(item.labels["required_info"])
                counts.update(hit=len(given & true), said=len(given), true=len(true))
    table = {name: sum(hits) / len(hits) for name, hits in right.items()}
    table["conflict AUC"] = auc(pairs)
    table["required info F1"] = 2 * counts["hit"] / max(1, counts["said"] + counts["true"])
    table["brier of confidence"] = sum((c - h) ** 2 for c, h in sure) / len(sure)
    table["mean confidence"] = sum(c for c, _ in sure) / len(sure)
    table["microseconds"] = 1e6 * seconds / answers
    return table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", nargs="?", type=Path, default=Path(__file__).parents[1] / "../shared/data/star.jsonl")
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    rows = load(options.path)
    learnt, held = (rows[300:], rows[:300]) if options.swap else (rows[:300], rows[300:])
    forms = schemas(rows)
    started = time.perf_counter()
    texts = instructions(learnt, forms)
    print({k: len(v) for k, v in texts.items()}, "learnt in", round(time.perf_counter() - started, 1))
    if options.show:
        for text in texts.values():
            print(text, "\n")
    tables = {
        "bare": measure(held, forms, BARE),
        "rules": measure(held, forms, texts),
        "rules, seen": measure(learnt, forms, texts),
    }
    for name in tables["bare"]:
        print(f"{name:24}" + "".join(f"{t[name]:10.3f}" for t in tables.values()))


if __name__ == "__main__":
    main()

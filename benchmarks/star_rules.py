"""Teach the embedded student STAR from 300 labelled conversations and try it on the other 300.

`python benchmarks/star_rules.py [../shared/data/star.jsonl] [--swap] [--show]` prints a table: without anything, with
rules alone, with examples alone. The rules are what a diligent teacher could write: words that tell the labels apart,
steps that follow each other, at most 6,000 characters a module. Nothing is fitted on the conversations it is tried on.
"""

import argparse
import json
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from dspy.lm15 import Config, Message, Request

from understudy.lm.answering import DEFAULT_PULL, SHARPNESS, begin, decide, fill, label_scores
from understudy.lm.embedded import EmbeddedStudent
from understudy.lm.evidence import EARLIER, pack, study
from understudy.lm.words import ANYWHERE, MESSAGE, STOP_WORDS, read_scene, read_text

DATA = Path(__file__).parents[1] / "../shared/data/star.jsonl"
HALF = 300
LIMIT = 6000
INTENT_ROOM, CONFLICT_ROOM = 1900, 1500
LEAST_GAIN = 1e-3
BARE = {
    "intent": "Read the conversation and say what the customer wants and what the agent does next.",
    "conflict": "Read the conversation and say which conflict is going on.",
    "goals": "Read the conversation and say what the customer wants and which data the customer has given.",
}

Conversation = dict[str, Any]
Schema = dict[str, Any]
Pairs = tuple[tuple[str, str], ...]
Bag = dict[str, float]
Weights = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Turn:
    """A customer message: what a module sees of it, its labels, what the agent did next, what it was all about."""

    inputs: dict[str, Any]
    labels: dict[str, Any]
    next_action: str | None
    intent: str
    first: bool
    talk: str


def load(path: Path = DATA) -> list[Conversation]:
    """Read conversations, one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def turns(conversation: Conversation) -> Iterator[Turn]:
    """Give the customer's turns; the history of a turn holds only what came before it."""
    messages = conversation["messages"]
    labelled = [i for i, m in enumerate(messages) if "intent" in m.get("labels", {})]
    intent = messages[labelled[0]]["labels"]["intent"] if labelled else ""
    for i, message in enumerate(messages):
        if message["role"] == "customer":
            history = [{k: m[k] for k in ("role", "text", "action") if k in m} for m in messages[:i]]
            inputs = {"history": history, "message": message["text"], "state": {}}
            reply = messages[i + 1] if i + 1 < len(messages) else {}
            action = reply.get("action") if reply.get("role") == "agent" else None
            first = i == labelled[0] if labelled else False
            yield Turn(inputs, message.get("labels", {}), action, intent, first, conversation["conversation_id"])


def all_turns(rows: Sequence[Conversation]) -> list[Turn]:
    """Give the turns of all conversations in one list."""
    return [turn for row in rows for turn in turns(row)]


def schemas(rows: Sequence[Conversation]) -> dict[str, Schema]:
    """Make the answer schema of each module; the enums are the sorted labels of the data."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for message in row["messages"]:
            found["next_step"].update(filter(None, [message.get("action")]))
            for name, value in message.get("labels", {}).items():
                found[name].update(value if isinstance(value, list) else [value])
    enum = {name: {"type": "string", "enum": sorted(values)} for name, values in found.items()}
    lists = {name: {"type": "array", "items": part} for name, part in enum.items()}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "intent": _schema(intent=enum["intent"], next_step=enum["next_step"], confidence=share),
        "conflict": _schema(conflict_type=enum["conflict_type"], confidence=share, reasoning={"type": "string"}),
        "goals": _schema(main_goal=enum["intent"], sub_goals=lists["intent"], required_info=lists["required_info"]),
    }


def _schema(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def last_step(turn: Turn) -> str:
    """Give the last step the agent took before a turn."""
    return next((m["action"] for m in reversed(turn.inputs["history"]) if m.get("action")), "start")


class Lesson(NamedTuple):
    """What to learn a field from: features per turn, the wanted label, and how each feature is written."""

    bags: list[Bag]
    wanted: list[str]
    talks: list[str]
    said: dict[str, str]


class Taste(NamedTuple):
    """How to choose cues: conversations a cue must occur in, cues looked at per label, shrinkage, strengths."""

    least: int
    most: int
    shrink: float
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0)


INTENT_TASTE = Taste(least=5, most=40, shrink=3.0)
STEP_TASTE = Taste(least=5, most=12, shrink=3.0, strengths=(1.0, 2.0))
CONFLICT_TASTE = Taste(least=4, most=150, shrink=4.0)


def lesson(items: Sequence[Turn], wanted: Sequence[str], places: int = ANYWHERE) -> Lesson:
    """Give each turn's phrases with the weight the student gives them, written the way they are mostly written."""
    surface: dict[str, Counter[str]] = defaultdict(Counter)
    bags = []
    for item in items:
        bag: Bag = {}
        for text, place in read_scene(item.inputs).spots:
            weight = 1.0 if place & MESSAGE else EARLIER
            for phrase, said in _phrases(text) if place & places else ():
                bag[phrase] = max(weight, bag.get(phrase, 0.0))
                surface[phrase][said] += 1
        bags.append(bag)
    mostly = {phrase: forms.most_common(1)[0][0] for phrase, forms in surface.items()}
    return Lesson(bags, list(wanted), [item.talk for item in items], mostly)


def _phrases(text: str) -> list[tuple[str, str]]:
    read = read_text(text)
    words = [(s, w.lower()) for s, w in zip(read.stems, read.spoken, strict=True) if s[0] not in "!?."]
    found = [(s, w) for s, w in words if s not in STOP_WORDS or len(s) > 3]
    for n in (2, 3):
        parts = [words[i : i + n] for i in range(len(words) - n + 1)]
        found += [(" ".join(s for s, _ in part), " ".join(w for _, w in part)) for part in parts]
    return found


def _telling(taught: Lesson, taste: Taste) -> set[str]:
    """Keep the features that go best with each label, if enough conversations have them."""
    spread = Counter(p for bag in taught.bags for p in bag)
    heard = Counter(p for p, _ in {(p, talk) for bag, talk in zip(taught.bags, taught.talks, strict=True) for p in bag})
    within: dict[str, Counter[str]] = defaultdict(Counter)
    for bag, label in zip(taught.bags, taught.wanted, strict=True):
        within[label].update(bag.keys())
    keep: set[str] = set()
    for label, n in Counter(taught.wanted).items():
        share = n / len(taught.bags)
        more = {p: count - share * spread[p] for p, count in within[label].items() if heard[p] >= taste.least}
        gain = {p: m * m / (spread[p] * share * (1 - share) + 2) for p, m in more.items() if m > 0}
        keep.update(sorted(gain, key=lambda p: (-gain[p], p))[: taste.most])
    return keep


class Learner:
    """Chooses cues one by one: each time the one that lowers the log loss most for its length."""

    def __init__(self, taught: Lesson, labels: Sequence[str], logits: list[list[float]], taste: Taste) -> None:
        keep = _telling(taught, taste)
        self.said, self.taste, self.labels, self.logits = taught.said, taste, labels, logits
        self.wanted = [labels.index(label) for label in taught.wanted]
        self.rows = [[(p, x) for p, x in bag.items() if p in keep] for bag in taught.bags]
        self.columns: dict[str, list[tuple[int, float]]] = {p: [] for p in sorted(keep)}
        for i, row in enumerate(self.rows):
            for p, x in row:
                self.columns[p].append((i, x))
        self.slope = {p: [0.0] * len(labels) for p in self.columns}
        self.curve = {p: [0.0] * len(labels) for p in self.columns}
        self.odds: list[list[float]] = [[] for _ in logits]
        self.weights: Weights = defaultdict(dict)
        self.choices: list[tuple[str, str, float]] = []
        for i in range(len(logits)):
            self._refresh(i)

    def _refresh(self, i: int) -> None:
        top = max(self.logits[i])
        parts = [math.exp(z - top) for z in self.logits[i]]
        total = sum(parts)
        new, old = [part / total for part in parts], self.odds[i]
        if old:
            pairs = [(k, n, o) for k, (n, o) in enumerate(zip(new, old, strict=True)) if abs(n - o) > 1e-4]
            moved = [(k, o - n, n * (1 - n) - o * (1 - o)) for k, n, o in pairs]
        else:
            moved = [(k, float(k == self.wanted[i]) - n, n * (1 - n)) for k, n in enumerate(new)]
        self.odds[i] = new
        for phrase, x in self.rows[i]:
            slope, curve = self.slope[phrase], self.curve[phrase]
            for k, by, bend in moved:
                slope[k] += x * by
                curve[k] += x * x * bend

    def _best(self) -> tuple[float, str, int]:
        """Give the largest gain with its cue and label."""
        found = (0.0, "", 0)
        heads = [len(label) + 4 if not self.weights[label] else 0 for label in self.labels]
        for phrase, slope in self.slope.items():
            size, curve = len(self.said[phrase]) + 4, self.curve[phrase]
            for k, by in enumerate(slope):
                if by > 0 and self.weights[self.labels[k]].get(phrase, 0.0) < self.taste.strengths[-1]:
                    gain = by * by / (curve[k] + self.taste.shrink) / math.sqrt(size + heads[k])
                    found = max(found, (gain, phrase, k))
        return found

    def _add(self, phrase: str, k: int) -> None:
        """Raise a cue to the strength nearest to the best step."""
        label = self.labels[k]
        old = self.weights[label].get(phrase, 0.0)
        step = old + self.slope[phrase][k] / (self.curve[phrase][k] + self.taste.shrink) / SHARPNESS
        new = min((s for s in self.taste.strengths if s > old), key=lambda s: abs(s - step))
        self.weights[label][phrase] = new
        self.choices.append((label, phrase, new))
        for i, x in self.columns[phrase]:
            self.logits[i][k] += SHARPNESS * (new - old) * x
            self._refresh(i)

    def write(self, room: int, scope: str = "") -> str:
        """Choose cues until they fill the room, and write as many as fit as lines of an instruction."""
        while len(self._lines(len(self.choices), scope)) <= room:
            gain, phrase, k = self._best()
            if gain < LEAST_GAIN:
                break
            self._add(phrase, k)
        fits = len(self.choices)
        while len(self._lines(fits, scope)) > room:
            fits -= 1
        return self._lines(fits, scope)

    def _lines(self, n: int, scope: str) -> str:
        weights: Weights = defaultdict(dict)
        for label, phrase, strength in self.choices[:n]:
            weights[label][phrase] = strength
        return "\n".join(f"- {label}: {self._cues(cues, scope)}" for label, cues in sorted(weights.items()))

    def _cues(self, cues: Mapping[str, float], scope: str) -> str:
        """Write the cues of a label, the strongest first; a feature `<step` is the step the agent has just taken."""
        groups = []
        for strength, word in ((2.0, "surely "), (1.0, ""), (0.5, "perhaps ")):
            steps = [cue[1:] for cue, w in cues.items() if w == strength and cue[0] == "<"]
            words = [f'"{self.said[cue]}"' for cue, w in cues.items() if w == strength and cue[0] != "<"]
            groups += [f"{word}after " + ", ".join(steps)] if steps else []
            groups += [word + scope + ", ".join(words)] if words else []
        return "; ".join(groups)


def own_logits(items: Sequence[Turn], form: Schema, name: str, text: str) -> list[list[float]]:
    """Give the student's own logits for a field under an instruction, which the cues to learn come on top of."""
    book = study(text, pack(form), ())
    at = next(i for i, one in enumerate(book.fields) if one.name == name)
    rows = []
    for item in items:
        turn = begin(book, item.inputs)
        for earlier in book.fields[:at]:
            decide(earlier, turn)
        scores = label_scores(book.fields[at], turn)
        rows.append([SHARPNESS * scores.get(label, 0.0) for label in book.fields[at].labels])
    return rows


def intent_text(rows: Sequence[Conversation], form: Schema) -> str:
    """Write which words tell the intents apart and which step follows which."""
    late = [turn for row in rows for turn in list(turns(row))[2:] if turn.intent]
    text = BARE["intent"] + "\n"
    labels, logits = form["properties"]["intent"]["enum"], own_logits(late, form, "intent", BARE["intent"])
    text += Learner(lesson(late, [t.intent for t in late]), labels, logits, INTENT_TASTE).write(INTENT_ROOM)

    acted = [turn for turn in all_turns(rows) if turn.next_action]
    taught = lesson(acted, [str(turn.next_action) for turn in acted], MESSAGE)
    for turn, bag in zip(acted, taught.bags, strict=True):
        step = "<" + last_step(turn)
        bag[step], taught.said[step] = 1.0, step[1:]
    labels, logits = form["properties"]["next_step"]["enum"], own_logits(acted, form, "next_step", text)
    text += "\nNext step:\n"
    return text + Learner(taught, labels, logits, STEP_TASTE).write(LIMIT - len(text), "now ")


def conflict_text(rows: Sequence[Conversation], form: Schema) -> str:
    """Write which words come with a conflict."""
    judged = [turn for turn in all_turns(rows) if "conflict_type" in turn.labels]
    labels = form["properties"]["conflict_type"]["enum"]
    logits = [[DEFAULT_PULL * (label == "none") for label in labels] for _ in judged]
    taught = lesson(judged, [turn.labels["conflict_type"] for turn in judged])
    lines = Learner(taught, labels, logits, CONFLICT_TASTE).write(CONFLICT_ROOM)
    return f"{BARE['conflict']}\n{lines}\nOtherwise none."


def goals_text(rows: Sequence[Conversation]) -> str:
    """Write after which steps which data is there; steps that tell the same share a line."""
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    seen: Counter[str] = Counter()
    for turn in all_turns(rows):
        if "required_info" in turn.labels:
            for step in {m["action"] for m in turn.inputs["history"] if m.get("action")}:
                seen[step] += 1
                asked[step].update(turn.labels["required_info"])
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for step, names in sorted(asked.items()):
        told = tuple(sorted(name for name, n in names.items() if n >= 2 and n / seen[step] >= 0.5))
        if told:
            lines[told].append(step)
    text = BARE["goals"]
    for told, steps in sorted(lines.items(), key=lambda line: (-sum(seen[s] for s in line[1]), line)):
        more = "\n- " + ", ".join(told) + ": " + ", ".join(steps)
        text += more if len(text) + len(more) <= LIMIT else ""
    return text


def instructions(rows: Sequence[Conversation], forms: Mapping[str, Schema]) -> dict[str, str]:
    """Write the three instructions from labelled conversations, each at most LIMIT characters."""
    return {
        "intent": intent_text(rows, forms["intent"]),
        "conflict": conflict_text(rows, forms["conflict"]),
        "goals": goals_text(rows),
    }


def examples(rows: Sequence[Conversation]) -> dict[str, Pairs]:
    """Give every labelled turn as an example, as the JSON pair a request carries."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for turn in all_turns(rows):
        given = json.dumps(turn.inputs)
        if "intent" in turn.labels:
            step = {"next_step": turn.next_action} if turn.next_action else {}
            found["intent"].append((given, json.dumps({"intent": turn.intent, **step})))
        for name, module in (("conflict_type", "conflict"), ("required_info", "goals")):
            if name in turn.labels:
                found[module].append((given, json.dumps({name: turn.labels[name]})))
    return {name: tuple(pairs) for name, pairs in found.items()}


def auc(pairs: Sequence[tuple[float, bool]]) -> float:
    """Give the chance that a true case scores above a false one; ties count half."""
    good, bad = [s for s, true in pairs if true], [s for s, true in pairs if not true]
    wins = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    return wins / max(1, len(good) * len(bad))


def measure(
    rows: Sequence[Conversation],
    forms: Mapping[str, Schema],
    texts: Mapping[str, str],
    shown: Mapping[str, Pairs] | None = None,
) -> dict[str, float]:
    """Let the student answer every turn and compare with the labels."""
    books = {name: study(texts[name], pack(form), (shown or {}).get(name, ())) for name, form in forms.items()}
    right: dict[str, list[float]] = defaultdict(list)
    risks: list[tuple[float, bool]] = []
    data: Counter[str] = Counter()
    for turn in all_turns(rows):
        got = fill(books["intent"], turn.inputs)
        if "intent" in turn.labels:
            hit = float(got["intent"] == turn.intent)
            right["intent, labelled turns"].append(hit)
            right["intent, first of them"] += [hit] if turn.first else []
            right["mean confidence in it"].append(got["confidence"])
            right["Brier score of that"].append((got["confidence"] - hit) ** 2)
        if turn.next_action:
            right["next step"].append(got["next_step"] == turn.next_action)
        if "conflict_type" in turn.labels:
            got = fill(books["conflict"], turn.inputs)
            risk = got["confidence"] if got["conflict_type"] == "frustration" else 1 - got["confidence"]
            risks.append((risk, turn.labels["conflict_type"] == "frustration"))
        if "required_info" in turn.labels:
            said, true = set(fill(books["goals"], turn.inputs)["required_info"]), set(turn.labels["required_info"])
            data.update(hit=len(said & true), all=len(said) + len(true))
    table = {name: fmean(hits) for name, hits in right.items()}
    return {**table, "conflict AUC": auc(risks), "required info, micro F1": 2 * data["hit"] / max(1, data["all"])}


def speed(rows: Sequence[Conversation], form: Schema, text: str, length: int = 41) -> float:
    """Give the median microseconds of a whole request with a history of 41 messages made of several conversations."""
    messages = [{k: m[k] for k in ("role", "text", "action") if k in m} for row in rows for m in row["messages"]]
    config = Config(response_format={"type": "json_schema", "name": "answer", "schema": form, "strict": True})
    student, times = EmbeddedStudent(), []
    for i in range(0, len(messages) - length, 13):
        asked = json.dumps({"history": messages[i : i + length], "message": messages[i + length]["text"], "state": {}})
        request = Request(model="student", system=text, messages=(Message.user(asked),), config=config)
        started = time.perf_counter()
        student.complete(request)
        times.append(time.perf_counter() - started)
    return 1e6 * median(times)


def main() -> None:
    """Print the instructions' sizes, the table and the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=DATA)
    parser.add_argument("--swap", action="store_true", help="learn from the last 300, try on the first 300")
    parser.add_argument("--show", action="store_true", help="print the instructions")
    options = parser.parse_args()
    rows = load(options.path)
    learnt, held = (rows[HALF:], rows[:HALF]) if options.swap else (rows[:HALF], rows[HALF:])
    forms, started = schemas(rows), time.perf_counter()
    texts = instructions(learnt, forms)
    print(f"instructions written in {time.perf_counter() - started:.1f} s:", {k: len(v) for k, v in texts.items()})
    if options.show:
        print("\n\n".join(texts.values()))
    tables = [measure(held, forms, BARE), measure(held, forms, texts), measure(held, forms, BARE, examples(learnt))]
    print(f"{'':26}{'bare':>10}{'rules':>10}{'examples':>10}")
    for name in tables[0]:
        print(f"{name:26}" + "".join(f"{table[name]:10.3f}" for table in tables))
    for name, form in forms.items():
        print(f"{name}: {speed(held, form, texts[name]):.0f} microseconds a request with rules and 41 messages")


if __name__ == "__main__":
    main()

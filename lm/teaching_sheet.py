"""An instruction as the embedded teacher edits it: prose that stays as it is, and lines of cues that it rewrites.

```
What speaks for each next_step:
- ask_name: surely after start, hello; now "my room"; perhaps now not "balance"
- Name, StartDate: for hotel_book
Otherwise surely none.
```
The lines are of the grammar in `understudy.lm.rules`; a line that is not wholly of this kind is prose.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from understudy.lm.prose import phrase_of
from understudy.lm.shape import Field

STRENGTHS = {"surely ": 2.0, "": 1.0, "perhaps ": 0.5}
NAMED = ("after", "for", "seen")
HEADING = "What speaks for each {}:"

LOW, HIGH, CLEAR = 0.15, 0.85, 2.0

_HEADING = re.compile(r"^What speaks for each (\w+):$")
_LINE = re.compile(r"^- ([^\":]+): (.+?)\.?$")
_GROUP = re.compile(r"^(surely |perhaps |strongly )?(not )?(?:(now|agent|customer|after|for|seen) )?(not )?(.+)$")
_QUOTES = re.compile(r'^"[^"]+"(?:, "[^"]+")*$')
_LEVEL = re.compile(
    r"^- (\w+) is (clearly |)(low|high) when the (agent|customer) says (\"[^\"]+\"(?:, \"[^\"]+\")*)\.$"
)
_REPLY = re.compile(r'^For ([\w ]+) reply "([^"]+)"$')
_DEFAULT = re.compile(r"^Otherwise (surely |perhaps |)([\w. -]+)\.$")


class Cue(NamedTuple):
    """What speaks for a label: a phrase in its stems and where it is looked for, or a step or fact by its name."""

    place: str
    phrase: str


Rules = dict[str, dict[Cue, float]]
"""Signed strength by label and cue."""

Levels = dict[Cue, tuple[float, float]]
"""Level and strength by cue."""


@dataclass
class Sheet:
    """Prose, and per field the cues of each label; `spoken` says how a phrase of stems is written."""

    prose: str
    rules: dict[str, Rules] = field(default_factory=dict)
    levels: dict[str, Levels] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, tuple[str, str]] = field(default_factory=dict)
    spoken: dict[str, str] = field(default_factory=dict)

    def write(self) -> str:
        """Return the instruction."""
        parts = [self.prose.strip()]
        for name, rules in self.rules.items():
            lines = self._rules(rules)
            if lines:
                parts.append("\n".join([HEADING.format(name), *lines]))
        for name, levels in self.levels.items():
            parts.append("\n".join(self._levels(name, levels)))
        parts.append("\n".join(self._replies()))
        parts += [f"Otherwise {strength}{label}." for label, strength in self.defaults.values()]
        return "\n\n".join(part for part in parts if part)

    def _levels(self, name: str, levels: Levels) -> list[str]:
        found: dict[tuple[float, float, str], list[str]] = defaultdict(list)
        for cue, (level, weight) in sorted(levels.items()):
            found[-weight, level, cue.place].append(f'"{self.spoken[cue.phrase]}"')
        return [
            f"- {name} is {'clearly ' if weight == -CLEAR else ''}{'low' if level == LOW else 'high'}"
            f" when the {place} says {', '.join(phrases)}."
            for (weight, level, place), phrases in sorted(found.items())
        ]

    def _replies(self) -> list[str]:
        steps: dict[str, list[str]] = defaultdict(list)
        for step, text in sorted(self.replies.items()):
            steps[text].append(step)
        return [f'For {" or ".join(found)} reply "{text}"' for text, found in steps.items()]

    def _rules(self, rules: Rules) -> list[str]:
        """Write rules, a line for each label; labels with the same cues share one."""
        shared: dict[str, list[str]] = defaultdict(list)
        for label, cues in sorted(rules.items()):
            if cues:
                shared[self._groups(cues)].append(label)
        return [f"- {', '.join(labels)}: {groups}" for groups, labels in sorted(shared.items(), key=lambda x: x[1])]

    def _groups(self, cues: Mapping[Cue, float]) -> str:
        found: dict[tuple[float, str, str], list[str]] = defaultdict(list)
        for cue, weight in sorted(cues.items()):
            strength = next(word for word, size in STRENGTHS.items() if size == abs(weight))
            found[-weight, strength, cue.place].append(cue.phrase)
        return "; ".join(self._group(*key, phrases) for key, phrases in sorted(found.items()))

    def _group(self, weight: float, strength: str, place: str, phrases: Sequence[str]) -> str:
        negated = "not " if weight > 0 else ""
        if place in NAMED:
            where = "" if place == "seen" else f"{place} "
            return f"{strength}{negated}{where}{', '.join(phrases)}"
        where = f"{place} " if place else ""
        return f"{strength}{where}{negated}" + ", ".join(f'"{self.spoken[phrase]}"' for phrase in phrases)


def read_sheet(instruction: str, fields: Sequence[Field]) -> Sheet:
    """Take an instruction apart into prose and rules; lines before any heading belong to the first field that fits."""
    reader = _Reader(fields)
    prose = [line for line in instruction.splitlines() if not reader.take(line.rstrip())]
    reader.sheet.prose = re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip()
    return reader.sheet


class _Reader:
    def __init__(self, fields: Sequence[Field]) -> None:
        self.sheet = Sheet("")
        self.names = {one.name: frozenset(one.labels) for one in fields if one.kind in ("label", "labels")}
        self.numbers = {one.name for one in fields if one.kind == "number"}
        self.under = ""

    def take(self, line: str) -> bool:
        """Take a line if it is a heading, a line of cues or a default; tell whether it was."""
        heading = _HEADING.match(line)
        if heading and heading[1] in self.names:
            self.under = heading[1]
            return True
        return self._take_default(line) or self._take_level(line) or self._take_reply(line) or self._take_rules(line)

    def _take_level(self, line: str) -> bool:
        found = _LEVEL.match(line)
        if found is None or found[1] not in self.numbers:
            return False
        rule = (LOW if found[3] == "low" else HIGH, CLEAR if found[2] else 1.0)
        cues = _phrases(found[5], found[4], self.sheet.spoken)
        self.sheet.levels.setdefault(found[1], {}).update(dict.fromkeys(cues, rule))
        return True

    def _take_reply(self, line: str) -> bool:
        found = _REPLY.match(line)
        if found:
            self.sheet.replies.update(dict.fromkeys(found[1].split(" or "), found[2]))
        return found is not None

    def _take_default(self, line: str) -> bool:
        found = _DEFAULT.match(line)
        for name, labels in self.names.items() if found else ():
            if found and found[2] in labels:
                self.sheet.defaults[name] = (found[2], found[1])
                return True
        return False

    def _take_rules(self, line: str) -> bool:
        found = _LINE.match(line)
        labels = found[1].split(", ") if found else []
        name = self._home(labels)
        cues = _cues(found[2], self.sheet.spoken) if found and name else None
        if cues is None:
            return False
        rules = self.sheet.rules.setdefault(name, {})
        for label in labels:
            rules.setdefault(label, {}).update(cues)
        return True

    def _home(self, labels: Sequence[str]) -> str:
        names = [self.under] if self.under else list(self.names)
        return next((name for name in names if labels and self.names[name].issuperset(labels)), "")


def _cues(text: str, spoken: dict[str, str]) -> dict[Cue, float] | None:
    """Read `surely now "a", "b"; after x`; None when there is anything else."""
    cues: dict[Cue, float] = {}
    for group in text.split("; "):
        found = _GROUP.match(group)
        if found is None:
            return None
        strength, early, place, late, rest = found.groups()
        weight = {"surely ": 2.0, "strongly ": 2.0, "perhaps ": 0.5}.get(strength or "", 1.0)
        phrases = list(_phrases(rest, place or "", spoken))
        if not phrases:
            return None
        cues.update(dict.fromkeys(phrases, -weight if early or late else weight))
    return cues


def _phrases(rest: str, place: str, spoken: dict[str, str]) -> Iterator[Cue]:
    if _QUOTES.match(rest) and place not in NAMED:
        for said in rest[1:-1].split('", "'):
            phrase = phrase_of(said)
            spoken.setdefault(phrase, said)
            yield Cue(place, phrase)
    elif place in NAMED or (not place and re.fullmatch(r"\w*_\w+(?:, \w*_\w+)*", rest)):
        if re.fullmatch(r"[\w.-]+(?:, [\w.-]+)*", rest):
            for name in rest.split(", "):
                yield Cue(place or "seen", name)

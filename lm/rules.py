"""Rules a person can write, found in the prose of an instruction.

A *cue* stands in quotes; a *label* is a value of an enum in the answer's schema; a *step* is an action of the agent.
Prose without cues stays prose: its content words are weak evidence for the label it is about.

```
- frustration: "third time", strongly "ridiculous", perhaps "again"      a line that begins with a label
- plane_book: "flight id", plane_ask_flight_id; not "search"             a step in a line: it was taken before
Choose hotel_book when the conversation mentions "check in", not when it mentions "rating".
After ask_name choose hotel_ask_hotel or plane_ask_flight_id.            ask_name -> hotel_ask_hotel   is the same
After ask_name choose ride_ask_departure for ride_book when "ride".      every condition must hold
At the start choose hello. Otherwise almost always none. Do not repeat a step already taken.
user_satisfaction is low when the customer says "useless"; high when "thank you"; otherwise 0.6.
- issues: "still waiting". Add to suggestions "offer a refund" when "money back".
For ask_name reply "May I have your name?"                               also: when frustration, reply "..."
```

Strength: strongly, surely, always, clearly (2) and perhaps, maybe, weakly, sometimes (1/2), before the cues they weigh,
up to the next `;`. Where to look: words such as customer, agent, message, first, last or just narrow a cue. A sentence
in a line without a label of its own goes on with the label of the sentence before, a list below `label:` as well.
A rule belongs to every field that has the label; a field named in the sentence or in a heading line narrows that.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from understudy.lm.words import (
    AGENT,
    ANYWHERE,
    CUSTOMER,
    FIRST,
    LAST_AGENT,
    MESSAGE,
    STOP_WORDS,
    content_words,
    read_text,
)

LONGEST_INSTRUCTION = 24000
START = "(start)"
_NOTHING: frozenset[str] = frozenset()

_TOKEN = re.compile(
    r"""(?P<quote>"[^"\n]{1,400}"|“[^”\n]{1,400}”|«[^»\n]{1,400}»|(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w)){1,400}'(?!\w))
    |(?P<tick>`[^`\n]{1,400}`)
    |(?P<arrow>->|=>|→)
    |(?P<word>\w(?:[\w.'’-]*\w)?)
    |(?P<mark>[:;,.!?()=–—-])""",
    re.VERBOSE,
)
_BULLET = re.compile(r"^\s*(?:[-*•+]\s+|\d{1,3}[.)]\s+|#+\s+)?")
_DEFAULT = re.compile(
    r"\b(?:otherwise|by default|default (?:is|to|label)|default:|fall ?back|in doubt|when unsure|if unsure"
    r"|nothing(?: else)? (?:match|fit|appl|point)\w*|no (?:rule|cue|other label) (?:match|fit|appl)\w*)"
)
_NO_REPEAT = re.compile(r"\b(?:not|never|avoid|rarely|without)\b[^.\n]{0,40}\brepeat\w*\b[^.\n]{0,40}\b(?:step|action)", re.I)

_STRENGTH = dict.fromkeys("strongly strong surely certainly always clearly definitely".split(), 2.0)
_STRENGTH |= dict.fromkeys("usually often likely probably mostly normally".split(), 1.0)
_STRENGTH |= dict.fromkeys("perhaps maybe weakly weak slightly possibly sometimes might hint hints".split(), 0.5)
_LEVEL = dict.fromkeys("low lower bad poor".split(), 0.15) | dict.fromkeys("high higher good full".split(), 0.85)
_LEVEL |= dict.fromkeys("medium middling middle neutral average moderate".split(), 0.5)
_SLOT = dict.fromkeys("choose pick use select predict prefer expect then take set return mark add include give".split(), "target")
_SLOT |= dict.fromkeys("when if where whenever because once while mentions".split(), "seen")
_SLOT |= dict.fromkeys("after following follows".split(), "after") | {"for": "given"}
_SCOPE = dict.fromkeys("customer customers user users caller they".split(), CUSTOMER) | {"agent": AGENT, "agents": AGENT}
_SCOPE |= {"message": MESSAGE, "now": MESSAGE, "latest": MESSAGE, "current": MESSAGE}
_SCOPE |= {"first": FIRST, "opening": FIRST, "begins": FIRST, "conversation": ANYWHERE, "history": ANYWHERE}
_REPLY = frozenset("reply replies respond answer write say".split())
_SPEAKERS = frozenset("customer customers they agent agents user users you i we".split())
_JOINS = frozenset("when if is means for marks covers : - – — =".split())
_NEGATES = frozenset("unless except without never".split())


class Rule(NamedTuple):
    """One piece of advice: a phrase to look for (empty: only conditions), where, and what it speaks for or against."""

    field: str
    label: str
    level: float
    weight: float
    phrase: str
    scope: int
    after: frozenset[str]
    given: frozenset[str]
    seen: frozenset[str]


class Reply(NamedTuple):
    """A reply the instruction quotes, with the words and cues it is bound to."""

    text: str
    bound: frozenset[str]
    cues: tuple[str, ...]


@dataclass(slots=True)
class Rulebook:
    """Everything an instruction says, in the engine's terms."""

    rules: list[Rule] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    defaults: dict[str, tuple[str, float]] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)
    no_repeat: bool = False


def phrase_of(text: str) -> str:
    """Bring a quoted cue to the form texts are searched in; marks count only when the cue is nothing else."""
    stems = read_text(text.replace("_", " ")).stems
    words = [s for s in stems if s[0] not in "!?."]
    return " ".join(words[:8] or stems[:1])


def parse(instruction: str, labels: Mapping[str, Sequence[str]], fields: Mapping[str, str]) -> Rulebook:
    """Read an instruction; `labels` gives each label's fields, `fields` each field's kind."""
    reader = _Reader(labels, fields)
    text = _tick_spaced(instruction[:LONGEST_INSTRUCTION].replace("**", ""), labels, fields)
    for line in text.splitlines():
        reader.line(line)
    reader.book.no_repeat = _NO_REPEAT.search(text) is not None
    return reader.book


def _tick_spaced(text: str, labels: Iterable[str], fields: Iterable[str]) -> str:
    for label in labels:
        if not re.fullmatch(r"\w(?:[\w.'’-]*\w)?", label):
            text = re.sub(rf"(?<![\w\"`“'])({re.escape(label)})(?![\w\"`”'])", r"`\1`", text)
    for name in fields:
        if "_" in name:
            text = re.sub(rf"\b{re.escape(name.replace('_', ' '))}\b", name, text, flags=re.I)
    return text


@dataclass(slots=True)
class _Clause:
    labels: list[str] = field(default_factory=list)
    avoided: list[str] = field(default_factory=list)
    name: str = ""
    narrow: set[str] = field(default_factory=set)
    level: float | None = None
    items: list[str] = field(default_factory=list)
    cues: list[tuple[str, float, int]] = field(default_factory=list)
    after: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    default: bool = False
    head: bool = False
    strength: float = 1.0

    def empty(self) -> bool:
        return not (self.cues or self.after or self.given or self.seen or self.items)


_Token = tuple[str, str]


def _tokens(line: str) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(line):
        kind, text = match.lastgroup or "mark", match.group()
        found.append((kind, text[1:-1].strip() if kind in ("quote", "tick") else text))
    return found


def _sentences(tokens: list[_Token]) -> Iterable[list[_Token]]:
    start = 0
    for i, (kind, text) in enumerate(tokens):
        if kind == "mark" and text in ".!?" and not (i and tokens[i - 1][1].lower() in ("e.g", "i.e", "etc", "vs")):
            yield tokens[start:i]
            start = i + 1
    yield tokens[start:]


class _Reader:
    """A state machine over one sentence: which slot the next label fills, and how the next cue is weighed."""

    def __init__(self, labels: Mapping[str, Sequence[str]], fields: Mapping[str, str]) -> None:
        self.book = Rulebook()
        self.labels, self.fields = labels, fields
        self.section: set[str] = set()
        self.carried: _Clause | None = None
        self.clause, self.slot, self.sign, self.scope = _Clause(), "start", 1.0, ANYWHERE
        self.recent = False

    def line(self, line: str) -> None:
        bullet = _BULLET.match(line)
        body = line[bullet.end() :] if bullet else line
        if not body.strip():
            self.carried = None
            return
        if not (line[0].isspace() or line[0] in "-*•+"):
            self.carried = None
        head = ""
        for sentence in _sentences(_tokens(body)):
            if sentence:
                self.sentence(sentence)
                head = head or self._meaning(sentence, body)
        self._heading(body)

    def _heading(self, body: str) -> None:
        """Remember what a line that ends with a colon is about, for the lines below it."""
        if not body.rstrip().endswith(":"):
            if self.carried is not None and not self.carried.default:
                self.carried = None if not self.carried.head else self.carried
            return
        named = {n for n in self.fields if re.search(rf"\b{re.escape(n)}s?\b", body)}
        if named:
            self.section = named

    def _meaning(self, sentence: list[_Token], body: str) -> str:
        if len(sentence) < 3 or sentence[1][1] not in ":-–—=" or sentence[0][0] == "quote":
            return ""
        return self.book.meanings.setdefault(sentence[0][1], body.split(sentence[1][1], 1)[-1].strip())

    def sentence(self, tokens: list[_Token]) -> None:
        self.clause, self.slot, self.sign, self.scope, self.recent = _Clause(), "start", 1.0, ANYWHERE, False
        lowered = " ".join(text for kind, text in tokens if kind != "quote").lower()
        if self._reply(tokens):
            return
        self.clause.default = _DEFAULT.search(lowered) is not None and "otherwise" not in lowered
        for i, token in enumerate(tokens):
            self._step(token, tokens[i - 1] if i else ("", ""), tokens[i + 1] if i + 1 < len(tokens) else ("", ""))
        self._inherit()
        self._close(tokens)

    def _inherit(self) -> None:
        clause = self.clause
        if clause.labels or clause.avoided or clause.name:
            self.carried = clause if clause.head else None
        elif self.carried is not None and (clause.cues or clause.seen):
            clause.labels, clause.name, clause.head = self.carried.labels, self.carried.name, True
            clause.level = clause.level if clause.level is not None else self.carried.level
            clause.narrow = clause.narrow or self.carried.narrow
            self.carried = clause

    def _reply(self, tokens: list[_Token]) -> bool:
        """Take `... reply "text"`: the quote after the verb is the reply, all before and after binds it."""
        for i, (kind, text) in enumerate(tokens):
            said = i > 0 and tokens[i - 1][1].lower() in _SPEAKERS
            if kind != "word" or text.lower() not in _REPLY or said:
                continue
            nxt = next((j for j in range(i + 1, min(i + 4, len(tokens))) if tokens[j][0] == "quote"), None)
            if nxt is None:
                continue
            rest = tokens[:i] + tokens[nxt + 1 :]
            bound = frozenset(t.lower() for k, t in rest if k in ("word", "tick"))
            cues = tuple(phrase_of(t) for k, t in rest if k == "quote")
            self.book.replies.append(Reply(tokens[nxt][1], bound, cues))
            return True
        return False

    def _step(self, token: _Token, before: _Token, behind: _Token) -> None:
        kind, text = token
        if kind == "arrow":
            self._arrow()
        elif kind == "mark":
            self._mark(text)
        elif kind == "quote":
            self._quote(text, behind)
        elif self._is_label(kind, text, behind):
            self._label(text, before, behind)
        elif text in self.fields:
            self._field(text)
        elif self.slot == "given" and before[1].lower() in ("for", "or", "and", ",") and self._names(text, behind):
            self._given_word(text)
        elif kind == "word":
            self._word(text.lower(), behind)

    def _names(self, text: str, behind: _Token) -> bool:
        ends = behind[0] in ("", "mark", "arrow") or behind[1].lower() in ("or", "and", "when", "choose", "if")
        return ends and text.lower() not in STOP_WORDS and text.lower() not in _SCOPE and text.lower() not in _SLOT

    def _given_word(self, text: str) -> None:
        """Take `for x` with an unknown x as a cue: a fact the host handed in, or a word that was said."""
        self.clause.cues.append((f"~{text}", self.sign * self.clause.strength, ANYWHERE))
        self._cue(text, ANYWHERE)

    def _arrow(self) -> None:
        """Turn the labels before an arrow into the step they follow."""
        self.clause.after.update(self.clause.labels)
        self.clause.labels.clear()
        self.clause.head, self.slot = False, "target"

    def _mark(self, mark: str) -> None:
        if mark == ":":
            if self.slot == "after" and not self.clause.labels:
                self.slot = "target"
            elif self.slot in ("start", "target") and self._aimed():
                self.clause.head, self.slot = True, "cue"
        elif mark in "-–—=" and self.slot == "start" and self._aimed():
            self.clause.head, self.slot = True, "cue"
        elif mark == ";":
            self._semicolon()

    def _aimed(self) -> bool:
        return bool(self.clause.labels or self.clause.name)

    def _semicolon(self) -> None:
        """End a clause; a line's label or a sentence's field stays the subject of the next."""
        old = self.clause
        self._close([])
        self.sign, self.scope, self.recent = 1.0, ANYWHERE, False
        keep = old.head or bool(old.name)
        self.clause = _Clause(narrow=set(old.narrow), head=old.head, name=old.name if keep else "")
        self.clause.labels = list(old.labels) if keep else []
        self.slot = "cue" if old.head else "start"

    def _quote(self, text: str, behind: _Token) -> None:
        pending = self.fields.get(self.clause.name) == "texts" and self.slot in ("target", "cue", "start")
        if text in self.labels and self.slot in ("start", "target") and not self.clause.labels:
            self._label(text, ("", ""), behind)
        elif pending or (self.slot == "target" and not self._aimed()):
            self.clause.items.append(text)
        elif self.slot == "after" or (self.scope & AGENT and self.recent):
            self._cue(text, LAST_AGENT)
        else:
            self._cue(text, self.scope)

    def _cue(self, text: str, scope: int) -> None:
        phrase = phrase_of(text)
        if phrase:
            self.clause.cues.append((phrase, self.sign * self.clause.strength, scope))

    def _is_label(self, kind: str, text: str, behind: _Token) -> bool:
        if text not in self.labels and not (self.slot == "after" and "_" in text):
            return False
        marked = kind == "tick" or "_" in text or "." in text
        return marked or self.slot in ("target", "after", "given") or behind[1].lower() in _JOINS

    def _label(self, text: str, before: _Token, behind: _Token) -> None:
        against = before[1].lower() in ("not", "over", "than", "never") or (before[1].lower() == "of" and self.sign < 0)
        starts = behind[1].lower() in ("when", "if") and bool(self.clause.cues)
        if starts and self.slot in ("seen", "cue") and not self.clause.head:
            self._close([])
            self.clause, self.slot, self.sign = _Clause(), "target", 1.0
        if self.slot in ("start", "target"):
            (self.clause.avoided if against else self.clause.labels).append(text)
        elif self.clause.head and self.slot != "after" and self.slot != "given":
            self.clause.cues.append((f"={text}", self.sign * self.clause.strength, ANYWHERE))
        else:
            {"after": self.clause.after, "given": self.clause.given}.get(self.slot, self.clause.seen).add(text)

    def _field(self, name: str) -> None:
        if self.fields[name] in ("label", "labels"):
            self.clause.narrow.add(name)
        elif not self.clause.name and self.slot in ("start", "target"):
            self.clause.name = name

    def _word(self, word: str, behind: _Token) -> None:
        if word == "otherwise":
            self._otherwise()
        elif word in _NEGATES or (word in ("not", "don't") and self._negates(behind)):
            self.sign = -1.0
        elif self._level(word, behind) or self._strength(word):
            return
        elif word in _SLOT:
            self._turn(_SLOT[word], word)
        elif word in _SCOPE:
            self._look(_SCOPE[word])
        elif word in ("just", "last"):
            self.recent = True
        elif word in ("start", "beginning") and (self.slot == "after" or not self.clause.labels):
            self.clause.after.add(START)

    def _otherwise(self) -> None:
        old = self.clause
        self._close([])
        self.clause, self.slot, self.sign = _Clause(default=True, name=old.name, narrow=set(old.narrow)), "target", 1.0

    def _negates(self, behind: _Token) -> bool:
        return behind[0] == "quote" or behind[1].lower() in ("when", "if", "for", "with", "on", "after", "just", "choose", "use", "pick")

    def _strength(self, word: str) -> bool:
        if word not in _STRENGTH:
            return False
        self.clause.strength = _STRENGTH[word]
        return True

    def _level(self, word: str, behind: _Token) -> bool:
        if self.fields.get(self.clause.name) != "number":
            return False
        level = _LEVEL.get(word)
        if re.fullmatch(r"[01](?:\.\d{1,4})?", word):
            level = min(float(word), 1.0)
        if level is None or (self.slot in ("seen", "cue") and self.clause.cues and not self._next_level()):
            return False
        self.clause.level = level
        return True

    def _next_level(self) -> bool:
        """Close `low when "x"` before `high when "y"` of the same field."""
        name = self.clause.name
        self._close([])
        self.clause, self.slot, self.sign = _Clause(name=name), "start", 1.0
        return True

    def _turn(self, slot: str, word: str) -> None:
        if slot == "target" and (self.clause.head or self.sign < 0):
            return
        if slot == "seen" and self.slot in ("start", "target") and self._aimed() and self.slot == "start":
            self.clause.head = self.clause.head or bool(self.clause.labels)
        self.slot = slot if not (slot == "given" and self.clause.head) else self.slot
        if self.clause.items and not self._aimed() and word == "to":
            self.slot = "start"

    def _look(self, scope: int) -> None:
        both = {self.scope, scope}
        if both == {CUSTOMER, MESSAGE}:
            self.scope = MESSAGE
        elif both == {AGENT, MESSAGE}:
            self.scope = LAST_AGENT
        elif both == {CUSTOMER, FIRST} or both == {FIRST, MESSAGE}:
            self.scope = FIRST
        else:
            self.scope = scope

    def _close(self, tokens: list[_Token]) -> None:
        clause = self.clause
        if clause.default:
            self._default(clause)
        elif clause.labels or clause.avoided:
            self._label_rules(clause, tokens)
        elif clause.name:
            self._field_rules(clause)

    def _default(self, clause: _Clause) -> None:
        for label in clause.labels[:1]:
            for name in self._fields_of(label, clause):
                self.book.defaults[name] = (label, clause.strength)
        if clause.name and clause.level is not None:
            self.book.levels[clause.name] = clause.level

    def _fields_of(self, label: str, clause: _Clause) -> list[str]:
        names = self.labels.get(label, ())
        for narrow in (clause.narrow, self.section):
            chosen = [n for n in names if n in narrow]
            if chosen:
                return chosen
        return list(names)

    def _label_rules(self, clause: _Clause, tokens: list[_Token]) -> None:
        cues = clause.cues
        if clause.empty():
            loose = " ".join(t for k, t in tokens if k == "word" and t not in self.labels and t.lower() not in _SLOT)
            cues = [(w, 0.3 * self.sign, ANYWHERE) for w in content_words(loose)[:12]]
        together = not clause.head
        guards = (frozenset(clause.after), frozenset(clause.given), frozenset(clause.seen)) if together else (_NOTHING,) * 3
        if not cues or not together:
            cues = cues + self._bare(clause)
        for rank, label in enumerate(clause.labels):
            self._add(clause, label, cues, max(0.5, 1.0 - 0.1 * rank) if together else 1.0, guards)
        for label in clause.avoided:
            self._add(clause, label, cues, -0.5, guards)

    def _bare(self, clause: _Clause) -> list[tuple[str, float, int]]:
        """Give the conditions of a line as cues of their own (in a line), or one cue that only needs the conditions."""
        weight = self.sign * clause.strength
        if not clause.head:
            return [("", weight, ANYWHERE)] if clause.after or clause.given or clause.seen else []
        marked = [("<" + step, weight, ANYWHERE) for step in sorted(clause.after)]
        marked += [("~" + fact, weight, ANYWHERE) for fact in sorted(clause.given)]
        return marked + [("=" + step, weight, ANYWHERE) for step in sorted(clause.seen)]

    def _add(
        self,
        clause: _Clause,
        label: str,
        cues: Sequence[tuple[str, float, int]],
        rank: float,
        guards: tuple[frozenset[str], ...],
    ) -> None:
        for name in self._fields_of(label, clause):
            for phrase, weight, scope in cues:
                self.book.rules.append(_rule(name, label, 0.0, weight * rank, phrase, scope, guards))

    def _field_rules(self, clause: _Clause) -> None:
        kind, guards = self.fields[clause.name], (frozenset(clause.after), frozenset(clause.given), frozenset(clause.seen))
        if kind == "number" and clause.level is not None:
            if clause.empty():
                self.book.levels[clause.name] = clause.level
            for phrase, weight, scope in clause.cues or ([("", clause.strength, ANYWHERE)] if not clause.empty() else []):
                self.book.rules.append(_rule(clause.name, "", clause.level, weight, phrase, scope, guards))
        elif kind == "texts":
            for item in clause.items:
                cues = clause.cues or [(phrase_of(item), 1.0, ANYWHERE)]
                for phrase, weight, scope in cues:
                    self.book.rules.append(_rule(clause.name, item, 0.0, weight, phrase, scope, guards))


def _rule(
    name: str, label: str, level: float, weight: float, phrase: str, scope: int, guards: tuple[frozenset[str], ...]
) -> Rule:
    """Make a rule; a phrase that begins with = < ~ is a condition written as a cue."""
    after, given, seen = guards
    if phrase[:1] == "<":
        phrase, after = "", frozenset([phrase[1:]])
    elif phrase[:1] == "~":
        phrase, given = "", frozenset([phrase[1:]])
    elif phrase[:1] == "=":
        phrase, seen = "", frozenset([phrase[1:]])
    return Rule(name, label, level, weight, phrase, scope, after, given, seen)

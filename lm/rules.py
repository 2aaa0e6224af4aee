"""Rules a person can write, found in the prose of an instruction.

A *cue* stands in quotes; a *label* is a value of an enum in the answer's schema; a *step* is an action of the agent.
Prose without cues stays prose: its content words are weak evidence for the label it is about.

```
- frustration: "third time", strongly "ridiculous"; perhaps "again"      a line that begins with a label
- plane_book: "flight id", plane_ask_flight_id; after ask_name; not "search"     in a line each condition counts alone
Choose hotel_book when the conversation mentions "check in", not when it mentions "rating".
After ask_name choose hotel_ask_hotel or plane_ask_flight_id.            ask_name -> hotel_ask_hotel   is the same
After ask_name choose ride_ask_departure for ride_book when "ride".      in a sentence every condition must hold
At the start choose hello. Otherwise almost always none. Do not repeat a step already taken.
user_satisfaction is low when the customer says "useless"; high when "thank you"; otherwise 0.6.
- issues: "still waiting"
Add to suggestions "offer a refund" when "money back".
For ask_name reply "May I have your name?"                               also: when frustration, reply "..."
```

Strength: strongly, surely, always, clearly (2) and perhaps, maybe, weakly, sometimes (1/2), before the cues they weigh,
up to the next `;`. Where to look: words such as customer, agent, message, first, last or just narrow a cue. A sentence
in a line without a label of its own goes on with the label of the line, and so does a list below `label:`.
A rule belongs to every field that has the label; a field named in the sentence or in a heading line narrows that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from understudy.lm import prose
from understudy.lm.clauses import START, Clause, Cue, Reply, Rule, field_rules, label_rules, read_reply
from understudy.lm.prose import END, Token, phrase_of
from understudy.lm.words import AGENT, ANYWHERE, LAST_AGENT, STOP_WORDS

LONGEST_INSTRUCTION = 24000


@dataclass(slots=True)
class Rulebook:
    """Everything an instruction says, in the engine's terms."""

    rules: list[Rule] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    defaults: dict[str, tuple[str, float]] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)
    no_repeat: bool = False


def parse(instruction: str, homes: Mapping[str, Sequence[str]], kinds: Mapping[str, str]) -> Rulebook:
    """Read an instruction; `homes` gives the fields of each label, `kinds` the kind of each field."""
    text = prose.tick_names(instruction[:LONGEST_INSTRUCTION].replace("**", ""), homes, kinds)
    reader = _Reader(homes, kinds)
    for line in text.splitlines():
        reader.line(line)
    reader.book.no_repeat = prose.forbids_repeats(text)
    return reader.book


class _Reader:
    """A state machine over a sentence: which slot the next label fills, and how the next cue is weighed.

    Slots: start, target (a label to choose), cue (behind `label:`), seen, after, given (conditions).
    """

    def __init__(self, homes: Mapping[str, Sequence[str]], kinds: Mapping[str, str]) -> None:
        self.book = Rulebook()
        self.homes, self.kinds = homes, kinds
        self.section: set[str] = set()
        self.carried: Clause | None = None
        self._open(Clause())

    def _open(self, clause: Clause, slot: str = "start") -> None:
        self.clause, self.slot, self.scope, self.recent = clause, slot, ANYWHERE, False

    def line(self, line: str) -> None:
        if not line[:1].isspace() and line[:1] not in ("-", "*", "•", "+"):
            self.carried = None
        found = prose.tokens(line)
        for sentence in prose.sentences(found):
            self._sentence(sentence)
        if (
            len(found) > 2
            and found[1].text in (":", "-", "–", "—", "=")
            and found[0].kind != "quote"
            and '"' not in line
        ):
            self.book.meanings.setdefault(found[0].text, line.split(found[1].text, 2)[-1].strip())
        if found and found[-1].text == ":":
            self._heading({token.text for token in found})
        elif self.carried is not None and not line[:1].isspace():
            self.carried = None

    def _heading(self, words: set[str]) -> None:
        """Remember the fields a heading names, for the lines below it."""
        named = {name for name in self.kinds if name in words or name + "s" in words}
        self.section = named or self.section

    def _sentence(self, found: list[Token]) -> None:
        reply = read_reply(found)
        if reply is not None:
            self.book.replies.append(reply)
            return
        self._open(Clause(default=prose.is_default(found)))
        around = [END, *found, END]
        for i, token in enumerate(found):
            self._step(token, around[i], around[i + 2])
        self._carry()
        self._close(found)

    def _carry(self) -> None:
        """Let a sentence without a subject go on with the subject of its line."""
        if self.clause.aimed or self.clause.avoided:
            self.carried = self.clause.subject() if self.clause.head else None
        elif self.carried is not None:
            subject = self.carried
            self.clause.labels, self.clause.name, self.clause.head = list(subject.labels), subject.name, True
            self.clause.narrow = self.clause.narrow or subject.narrow

    def _step(self, token: Token, before: Token, behind: Token) -> None:
        if token.kind == "arrow":
            self._arrow()
        elif token.kind == "mark":
            self._mark(token.text)
        elif token.kind == "quote":
            self._quote(token.text, before, behind)
        elif self._is_label(token, before, behind):
            self._label(token.text, before, behind)
        elif token.text in self.kinds:
            self._field(token.text, behind)
        elif self._is_given(token, before, behind):
            self.clause.cues.append(Cue("", self.clause.weight, ANYWHERE, fact=token.text))
            self._cue(token.text, ANYWHERE)
        else:
            self._word(token.low, behind)

    def _arrow(self) -> None:
        """Turn the labels before an arrow into the step they follow."""
        self.clause.after.update(self.clause.labels)
        self.clause.labels.clear()
        self.clause.head, self.slot = False, "target"

    def _mark(self, mark: str) -> None:
        if mark == ";":
            self._semicolon()
        elif mark == ":" and self.slot == "after" and not self.clause.labels:
            self.slot = "target"
        elif mark in ":–—-=" and self.slot in ("start", "target") and self.clause.aimed:
            if mark == ":" or self.slot == "start":
                self.clause.head, self.slot = True, "cue"

    def _semicolon(self) -> None:
        """End a clause; the label of a line or the field of a sentence stays the subject."""
        old = self.clause
        self._close([])
        keep = old.head or bool(old.name)
        self._open(old.subject() if keep else Clause(), "cue" if old.head else "start")

    def _quote(self, text: str, before: Token, behind: Token) -> None:
        listing = self.kinds.get(self.clause.name) == "texts" and self.slot in ("target", "cue", "start")
        if text in self.homes and self.slot in ("start", "target") and not self.clause.labels:
            self._label(text, before, behind)
        elif listing or (self.slot == "target" and not self.clause.aimed):
            self.clause.items.append(text)
            if self.clause.head:
                self._cue(text, self.scope)
                self._close([])
                self._open(self.clause.subject(), "cue")
        elif self.slot == "after" or (self.scope == AGENT and self.recent):
            self._cue(text, LAST_AGENT)
        else:
            self._cue(text, self.scope)

    def _cue(self, text: str, scope: int) -> None:
        phrase = phrase_of(text)
        if phrase:
            self.clause.cues.append(Cue(phrase, self.clause.weight, scope))

    def _is_label(self, token: Token, before: Token, behind: Token) -> bool:
        """Tell a label from an ordinary word that happens to be one, such as `none` or `weather`."""
        if token.text not in self.homes:
            return self.slot in ("after", "given", "seen", "cue") and "_" in token.text and token.text not in self.kinds
        marked = token.kind == "tick" or "_" in token.text or "." in token.text
        listed = self.slot == "start" and behind.low in prose.LISTS and (before == END or bool(self.clause.labels))
        joined = behind.kind == "arrow" or (self.slot in ("start", "cue", "seen") and behind.low in prose.JOINS)
        return marked or listed or joined or self.clause.default or self.slot in ("target", "after", "given")

    def _label(self, text: str, before: Token, behind: Token) -> None:
        clause = self.clause
        if behind.low in ("when", "if") and self.slot == "seen" and clause.cues and not clause.head:
            self._close([])
            self._open(Clause(narrow=set(clause.narrow)), "target")
        stated = behind.low in prose.STATES and not (clause.head or clause.labels or clause.bare)
        if stated or clause.default:
            self.slot = "target"
        if self.slot in ("start", "target"):
            against = before.low in ("not", "over", "than", "never") or self.clause.sign < 0
            (self.clause.avoided if against and self.clause.labels else self.clause.labels).append(text)
        elif clause.head and self.slot not in ("after", "given"):
            clause.cues.append(Cue("", clause.weight, ANYWHERE, step=text))
        else:
            {"after": clause.after, "given": clause.given}.get(self.slot, clause.seen).add(text)

    def _is_given(self, token: Token, before: Token, behind: Token) -> bool:
        """Take `for x` with an unknown x as a cue: a fact the host handed in, or a word that was said."""
        if self.slot != "given" or before.low not in ("for", "or", "and", ","):
            return False
        ends = behind.kind in ("", "mark", "arrow") or behind.low in ("or", "and", "when", "choose", "if")
        return ends and not (token.low in STOP_WORDS or token.low in prose.SCOPE or token.low in prose.SLOT)

    def _field(self, name: str, behind: Token) -> None:
        """Narrow the clause to a field of labels, or make another field its subject; `the intent is` asks a label."""
        if self.kinds[name] in ("label", "labels"):
            self.clause.narrow.add(name)
            if behind.low in prose.STATES and not self.clause.head:
                self.slot = "target" if self.slot == "start" or not self.clause.bare else "given"
        elif not self.clause.name and self.slot in ("start", "target"):
            self.clause.name = name

    def _word(self, word: str, behind: Token) -> None:
        if word in ("otherwise", "else") and (word != "else" or behind.text in self.homes):
            self._otherwise()
        elif word in prose.NEGATES or (word in ("not", "don't") and self._negates(behind)):
            self.clause.sign = -1.0
        elif self._level(word):
            return
        elif word in prose.STRENGTH:
            self.clause.strength = prose.STRENGTH[word]
        elif word in prose.SLOT:
            self._turn(prose.SLOT[word])
        elif word == "or":
            self._or(behind)
        else:
            self._place(word, behind)

    def _or(self, behind: Token) -> None:
        """Begin a clause of its own at `or after`, `or when`: the same subject on other conditions."""
        old = self.clause
        if behind.low in ("after", "when", "if", "once") and old.aimed and not (old.head or old.bare):
            self._close([])
            again = old.subject()
            again.level, again.strength = old.level, old.strength
            self._open(again, self.slot)

    def _negates(self, behind: Token) -> bool:
        return behind.kind in ("quote", "tick") or behind.low in prose.NEGATED or "_" in behind.text

    def _otherwise(self) -> None:
        old = self.clause
        self._close([])
        self._open(Clause(default=True, name=old.name, narrow=set(old.narrow)), "target")

    def _level(self, word: str) -> bool:
        if self.kinds.get(self.clause.name) != "number":
            return False
        level = prose.LEVEL.get(word)
        if re.fullmatch(r"[01](?:\.\d{1,4})?", word):
            level = min(float(word), 1.0)
        if level is None or (self.slot in ("seen", "cue") and not self.clause.cues and not self.clause.head):
            return False
        if self.clause.cues:
            self._close([])
            self._open(Clause(name=self.clause.name))
        self.clause.level = level
        return True

    def _turn(self, slot: str) -> None:
        """Change what the next label or cue is, as a word such as choose, when, after or for says."""
        if slot == "target" and (self.clause.head or (self.clause.sign < 0 and self.clause.aimed)):
            return
        if slot == "seen" and self.slot == "start" and self.clause.labels:
            self.clause.head = True
        if not (slot == "given" and self.slot == "start" and self.clause.name):
            self.slot = slot

    def _place(self, word: str, behind: Token) -> None:
        if word in prose.SCOPE:
            self.scope = prose.narrow_scope(self.scope, prose.SCOPE[word])
        elif word in ("just", "last"):
            self.recent = True
        elif word in ("start", "beginning") and (behind.kind in ("", "mark") or behind.low in ("of", "choose")):
            self.clause.after.add(START)

    def _close(self, words: list[Token]) -> None:
        clause = self.clause
        if clause.default:
            self._default(clause)
        elif clause.labels or clause.avoided:
            homes = {label: self._homes(label, clause) for label in (*clause.labels, *clause.avoided)}
            self.book.rules.extend(label_rules(clause, homes, words))
        elif clause.name and clause.bare and clause.level is not None:
            self.book.levels[clause.name] = clause.level
        elif clause.name:
            self.book.rules.extend(field_rules(clause, self.kinds[clause.name]))

    def _default(self, clause: Clause) -> None:
        for label in clause.labels[:1]:
            for name in self._homes(label, clause):
                self.book.defaults[name] = (label, clause.strength)
        if clause.name and clause.level is not None:
            self.book.levels[clause.name] = clause.level

    def _homes(self, label: str, clause: Clause) -> list[str]:
        """Give the fields a label is meant for: those the sentence names, else the heading's, else all that have it."""
        names = self.homes.get(label, ())
        for narrow in (clause.narrow, self.section):
            chosen = [name for name in names if name in narrow]
            if chosen:
                return chosen
        return list(names)

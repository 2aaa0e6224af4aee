"""Check that a rewritten reply still says what the original says; how it says it is free.

Kept are names, numbers, dates, times, prices, links, negations and promises: none may be lost, changed, swapped or made
up. When in doubt it is broken: a sound rewriting may be refused, a wrong one must not pass. Other content is not
looked at: `open` may become `closed`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from understudy.nodes.facts import Reading, capitals, mentions, read, small
from understudy.nodes.masking import folded
from understudy.nodes.response import LABEL
from understudy.nodes.tokens import Fact

MOST_LINES = 20
LONGEST_LINE = 200
LONGEST_QUOTE = 60
LONGEST_CHECKED = 10_000
"""Characters of a text that is looked at; no reply is as long, and one that is must stay as it is."""

LONGER, LONGER_BY = 3, 200
"""How much longer a rewriting may be: so many times the original and so many characters."""

_ORDERED = ("number", "price", "date", "time", "link", "name", "negation", "word", "promise")
_MARKUP = re.compile(r"</?[a-z!?][a-z0-9]*|!\[|\]\(|\]\[|\]:|&(?:#x?\w{1,8}|[a-z]{2,8});|`{3}", re.IGNORECASE)
# What joins emoji is no hiding place: folding takes it away before words are looked at.
_EMOJI_PARTS = frozenset("\u200d\ufe0e\ufe0f")
_COURTESY = re.compile(
    r"\b(?:any|some)thing (?:else|further|more)\b|^(?:so )?(?:ok|okay|alright|right|all right)$"
    r"|\b(?:can|may|could) i (?:help|assist)\b"
    r"|^(?:can|could|would|will) you (?:please |kindly )?(?!like|want|prefer|love|rather|need)"
    r"|\b(?:is|are|does) (?:that|this|it|everything) (?:ok|okay|alright|all right|fine|work|sound|good|clear)\b"
    r"|^how are you\b|^how is that\b"
)
_JOIN = re.compile(r"\b(?:and|or|also|plus)\b")


def broken(
    original: str, rewritten: str, *, customer_names: Collection[str] = (), known_names: Collection[str] = ()
) -> list[str]:
    """Return what the rewriting has lost, changed or made up, a line of plain words each; empty when it is sound.

    `customer_names` may appear newly, but not get lost; `known_names` are names in any case. Facts of a kind must stay
    in their order, since a swap shows nowhere else. Questions must stay questions; two may be joined or one with `and`
    be parted, and one question out of courtesy may be new: `anything else?`, `could you ...?`, `is that okay?`.
    A text of over LONGEST_CHECKED characters must not change at all.
    """
    lines = list(_misshapen(original, rewritten))
    if max(len(original), len(rewritten)) > LONGEST_CHECKED:
        lines += ["the text is too long to be checked"] if original != rewritten else []
    elif len(rewritten) <= LONGER * len(original) + LONGER_BY:
        old, new = read(original), read(rewritten)
        free = _words(customer_names)
        names = free | _words(known_names) | _names(old, new)
        before, after = old.facts + mentions(old, names), new.facts + mentions(new, names)
        lines += [*_differences(before, after, free), *_moved(before, after, old, new), *_questions(old, new)]
    return [_shown(line, LONGEST_LINE) for line in dict.fromkeys(lines)][:MOST_LINES]


def _misshapen(original: str, rewritten: str) -> Iterator[str]:
    """Say what is wrong with the form of the rewriting."""
    if not rewritten.strip() and original.strip():
        yield "the rewriting is empty"
    if len(rewritten) > LONGER * len(original) + LONGER_BY:
        yield "the rewriting is much longer than the original"
    for letter in sorted(set(rewritten) - set(original)):
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and letter not in _EMOJI_PARTS | {"\n"}:
            yield f"an invisible character is new (U+{ord(letter):04X})"
    for what, pattern in (("a label", LABEL), ("markup", _MARKUP)):
        for piece in _more(_found(pattern, rewritten), _found(pattern, original)):
            yield f"{what} is new ({_shown(piece)})"


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    return [match[0].lower() for match in pattern.finditer(text)]


def _names(old: Reading, new: Reading) -> set[str]:
    ordinary = small(old) | small(new)
    return capitals(old, ordinary) | capitals(new, ordinary)


def _words(names: Iterable[str]) -> set[str]:
    return {word for name in names for word in re.findall(r"[^\W\d_]+", folded(name).casefold())}


def _differences(before: list[Fact], after: list[Fact], free: set[str]) -> Iterator[str]:
    """Say which facts are missing, new or in another order."""
    for kind in _ORDERED:
        old, new = _of_kind(before, kind), _of_kind(after, kind)
        missing, added = _more(old, new), [form for form in _more(new, old) if kind != "name" or form not in free]
        for state, forms, facts in (("missing", missing, before), ("new", added, after)):
            shown = {fact.form: fact.shown for fact in facts if fact.kind == kind}
            yield from (_told(kind, shown[form], state) for form in forms)
        fixed = [[form for form in forms if kind != "name" or form not in free] for forms in (old, new)]
        if kind != "promise" and not missing and not added and fixed[0] != fixed[1]:
            yield f"the {kind}s stand in another order ({', '.join(map(_shown, fixed[1][:6]))})"


def _of_kind(facts: list[Fact], kind: str) -> list[str]:
    return [fact.form for fact in facts if fact.kind == kind]


def _more(forms: list[str], others: list[str]) -> list[str]:
    """Return what is more often in one list than in another, each once."""
    return list(Counter(forms) - Counter(others))


def _told(kind: str, shown: str, state: str) -> str:
    if kind in ("negation", "promise"):
        return f"a {kind} is {state} ({_shown(shown)})"
    return f"the {kind} {_shown(shown)} is {state}"


def _moved(before: list[Fact], after: list[Fact], old: Reading, new: Reading) -> Iterator[str]:
    """Say which facts are all there but now belong to something else."""
    turns = [*_turns(old.denied, new.denied), *_turns(_in_denials(before, old), _in_denials(after, new))]
    freed, caught = [word for word, _, was in turns if was], [word for word, now, _ in turns if now]
    if freed and caught:
        yield f"a negation has moved (from {_shown(freed[0])} to {_shown(caught[0])})"
    known = set().union(*old.ties.values())
    for (side, word), numbers in new.ties.items():
        was = old.ties.get((side, word), numbers)
        if not numbers <= was and numbers <= known:
            yield f"a number has moved ({_shown(', '.join(sorted(numbers - was)))} {side} {_shown(word)})"
    for way, other in (("from", "to"), ("to", "from")):
        for word in sorted(word for road, word in new.roads - old.roads if road == way and (other, word) in old.roads):
            yield f"{way} and {other} are swapped ({way} {_shown(word)})"
    joins = [Counter(token.form for token in side.tokens if token.form in ("and", "or")) for side in (old, new)]
    if (joins[1]["and"] - joins[0]["and"]) * (joins[1]["or"] - joins[0]["or"]) < 0:
        yield "`and` and `or` are exchanged"
    lost = old.subjects - new.subjects
    for subject, verb in new.subjects - old.subjects:
        if ("we" if subject == "you" else "you", verb) in lost:
            yield f"somebody else is meant now ({subject} {_shown(verb)})"


def _turns(old: dict[str, list[bool]], new: dict[str, list[bool]]) -> Iterator[tuple[str, bool, bool]]:
    """Yield the words that are newly denied, or no longer: word, whether now, whether before."""
    for word, was in old.items():
        now = new.get(word, [])
        if len(now) == len(was):
            yield from ((word, b, a) for a, b in zip(was, now, strict=True) if a != b)


def _in_denials(facts: list[Fact], reading: Reading) -> dict[str, list[bool]]:
    """Tell of each name, number and time whether its clause holds a negation."""
    told: dict[str, list[bool]] = {}
    for fact in facts:
        if fact.kind in ("name", "number", "price", "date", "time"):
            told.setdefault(fact.form, []).append(fact.clause in reading.denials)
    return told


def _questions(old: Reading, new: Reading) -> Iterator[str]:
    """Say whether a question is lost or made up."""
    asked, asks = len(old.questions), len(new.questions)
    joins, joined = (sum(len(_JOIN.findall(question)) for question in side.questions) for side in (old, new))
    if asks + min(joined, asks * asked) < asked:
        yield "a question is missing"
    courteous = [question for question in new.questions if _COURTESY.search(question)]
    if asks > asked + joins + bool(courteous):
        extra = next((q for q in new.questions if q not in old.questions and q not in courteous), new.questions[-1])
        yield f"a question is new ({_shown(extra)})"


def _shown(text: str, most: int = LONGEST_QUOTE) -> str:
    """Return a text in one line, short, without what cannot be seen."""
    seen = "".join(c if unicodedata.category(c)[0] not in "CZ" else " " for c in text[: 4 * most])
    line = " ".join(seen.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."

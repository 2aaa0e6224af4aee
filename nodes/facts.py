"""Read from a text the facts that a rewriting must keep: names, numbers, dates, links, negations, promises."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import NamedTuple

from understudy.lm.words import STOP_WORDS, stem
from understudy.nodes.amounts import amounts_of, dates_of, is_date
from understudy.nodes.tokens import LINK, Fact, Token, plainly, tokens_of
from understudy.nodes.vocabulary import (
    COMMON,
    MODALS,
    NEGATIONS,
    OPENERS,
    OUTCOME,
    PLAIN,
    PROMISES,
    ROOT,
    WISHING,
    WONDERING,
)


class Reading(NamedTuple):
    """A text as it is compared.

    Attributes:
        facts: all but the names, which only both texts together tell (see `capitals`, `mentions`).
        denied: for each word that carries meaning, whether a negation comes before it, in order.
        denials: the clauses with a negation.
        ties: the words right before and after a number, each with that number.
        roads: the words after `from` and `to`.
        subjects: how often we and you are said to do something.
        questions: the sentences that ask.
    """

    tokens: list[Token]
    facts: list[Fact]
    denied: dict[str, list[bool]]
    denials: set[int]
    ties: dict[tuple[str, str], set[str]]
    roads: set[tuple[str, str]]
    subjects: Counter[tuple[str, str]]
    questions: list[str]


def read(text: str) -> Reading:
    """Read a text; any text will do."""
    links = [link[0].rstrip(".,;:!?'*)]}>") for link in LINK.finditer(text)]
    tokens = tokens_of(plainly(LINK.sub(" \u25c6 ", text)))
    asked = {token.sentence for token in tokens if token.form == "?"}
    told, used = dates_of(tokens)
    facts = [Fact("link", link, link) for link in links]
    facts += told + amounts_of(tokens, used) + _negations(tokens)
    facts += _modals(tokens, asked) + _promises(tokens, used) + _turns(tokens)
    denials = {fact.clause for fact in facts if fact.kind == "negation"}
    roads = {
        (token.form, word)
        for i, token in enumerate(tokens)
        if token.form in ("from", "to")
        for word in _near(tokens, i)
    }
    return Reading(
        tokens, facts, _denied(tokens), denials, _ties(tokens), roads, _subjects(tokens), _questions(tokens, asked)
    )


def _negations(tokens: list[Token]) -> list[Fact]:
    """Find negations; `no` before a noun is a `not`, an answer is a `no!`."""
    facts = []
    for i, token in enumerate(tokens):
        form = token.form
        if form == "no":
            after = tokens[i + 1] if i + 1 < len(tokens) else None
            answers = (
                after is None
                or after.kind == "mark"
                or after.form in ("i", "we", "you", "it", "they", "thanks", "sorry")
            )
            form = "no!" if answers else "not"
        if form in NEGATIONS:
            facts.append(Fact("negation", NEGATIONS[form], token.form, i, token.clause))
    return facts


def _turns(tokens: list[Token]) -> list[Fact]:
    """Find the words that turn a sentence: cancelled, failed, only, if; an `if` of courtesy does not."""
    facts = []
    for i, token in enumerate(tokens):
        form = _root(OUTCOME, token.form) or token.form * (token.form in ("only", "if"))
        before, after = (tokens[i - 1].form if i else ""), [t.form for t in tokens[i + 1 : i + 3]]
        polite = before in WONDERING or after[:1] == ["you"] and after[-1] in WISHING
        if form and not (form == "if" and polite):
            facts.append(Fact("word", form, token.text, i, token.clause))
    return facts


def _root(pattern: re.Pattern[str], form: str) -> str:
    root = pattern.match(form)
    return ("refus" if root[0] in ("declin", "reject", "deni", "deny") else root[0]) if root else ""


def _modals(tokens: list[Token], asked: set[int]) -> list[Fact]:
    """Find will, can, may ... and whether a `not` is with them, except where they only ask politely."""
    facts = []
    for i, token in enumerate(tokens):
        modal = MODALS.get(token.form)
        if not modal or token.form == "may" and is_date(tokens, i) or _is_will(token) or _is_polite(tokens, i, asked):
            continue
        said = " ".join(t.text for t in tokens[max(0, i - 1) : i + 2] if t.kind != "mark")
        form = f"{modal} not" if _is_denied(tokens, i) else modal
        commits = modal == "will"
        facts.append(Fact("promise" if commits else "word", form, said if commits else form, i, token.clause))
    return facts


def _is_polite(tokens: list[Token], i: int, asked: set[int]) -> bool:
    """Say whether a modal verb only asks: can I, could you ... at the beginning or in a question."""
    after = next((t.form for t in tokens[i + 1 : i + 3] if t.form != "not"), "")
    before = tokens[i - 1] if i else None
    opening = before is None or before.kind == "mark" or before.form in OPENERS
    return after in ("i", "we", "you") and (tokens[i].sentence in asked or opening)


def _is_denied(tokens: list[Token], i: int) -> bool:
    near = [t.form for t in tokens[i + 1 : i + 3]]
    return "not" in near or i > 0 and tokens[i - 1].form == "not" and tokens[i].form == "can"


def _subjects(tokens: list[Token]) -> Counter[tuple[str, str]]:
    """Count what we and you are said to do."""
    pairs = zip(tokens, tokens[1:], strict=False)
    return Counter(
        ("you" if who.form == "you" else "we", does.form)
        for who, does in pairs
        if who.form in ("i", "we", "you") and does.kind == "word"
    )


def _is_will(token: Token) -> bool:
    """Say whether a `Will` is somebody's name."""
    return token.text == "Will" and not token.first


def _promises(tokens: list[Token], used: set[int]) -> list[Fact]:
    """Find the words that commit somebody to something, or make it less sure."""
    facts = []
    for i, token in enumerate(tokens):
        form = PROMISES.get(token.form) or _root(ROOT, token.form)
        answers = form == "definitely" and (token.first or i + 1 == len(tokens) or tokens[i + 1].kind == "mark")
        if form == "try":
            answers = [t.form for t in tokens[i + 1 : i + 2]] not in (["to"], ["and"])
        if token.kind == "word" and form and i not in used and not answers:
            facts.append(Fact("promise", form, token.text, i, token.clause))
    return facts


def _denied(tokens: list[Token]) -> dict[str, list[bool]]:
    """Tell of each word whether it is the first with meaning after a negation, in the same clause."""
    denied: dict[str, list[bool]] = defaultdict(list)
    open_until, clause = -1, -1
    for i, token in enumerate(tokens):
        if token.form == "no" or token.form in NEGATIONS:
            open_until, clause = i + 5, token.clause
        elif token.kind == "word" and _carries(token.form):
            inside = i <= open_until and clause == token.clause
            denied[stem(token.form)].append(inside)
            open_until = -1 if inside else open_until
    return denied


def _carries(form: str) -> bool:
    return form not in STOP_WORDS and form not in ("quite", "yet", "am") and not form.endswith("ly")


def _ties(tokens: list[Token]) -> dict[tuple[str, str], set[str]]:
    """Return for each word right before or after a number, with its side, the numbers."""
    ties: dict[tuple[str, str], set[str]] = defaultdict(set)
    for i, token in enumerate(tokens):
        if token.kind == "number":
            for side, j in (("before", i - 1), ("after", i + 1)):
                if 0 <= j < len(tokens) and tokens[j].kind == "word" and _carries(tokens[j].form):
                    ties[side, stem(tokens[j].form)].add(token.form)
    return ties


def _near(tokens: list[Token], i: int) -> list[str]:
    words = [t.form for t in tokens[i + 1 : i + 4] if t.kind == "word" and t.form not in ("the", "a", "an")]
    return words[:1]


_ASKING = frozenset("what when where who whom whose which how why".split())
_HELPING = frozenset(MODALS) | frozenset("is are was were do does did have has am".split())
_ASKED = frozenset("i we you it there this that the your he she they".split())


def _questions(tokens: list[Token], asked: set[int]) -> list[str]:
    """Return the sentences that ask, by their mark or by the order of their words."""
    sentences: dict[int, list[str]] = defaultdict(list)
    for token in tokens:
        if token.kind != "mark":
            sentences[token.sentence].append(token.form)
    return [" ".join(forms) for number, forms in sentences.items() if number in asked or _asks(forms)]


def _asks(forms: list[str]) -> bool:
    while forms and (forms[0] in OPENERS or forms[0] in ("and", "so")):
        forms = forms[1:]
    turned = any(a in _HELPING and b in _ASKED for a, b in zip(forms[:6], forms[1:7], strict=False))
    begins = len(forms) > 1 and forms[0] in _HELPING and forms[1] in _ASKED
    return begins or bool(forms) and forms[0] in _ASKING and turned


def capitals(reading: Reading, ordinary: Collection[str]) -> set[str]:
    """Return the words that are names by their capitals or quotes; `ordinary` are those met in small letters."""
    found = {token.form for token in reading.tokens if token.kind == "word" and _is_name(token, ordinary)}
    return found | _quoted(reading.tokens)


def _is_name(token: Token, ordinary: Collection[str]) -> bool:
    text, form = token.text, token.form
    if len(text) < 2 or text == text.lower() or form in PLAIN:
        return False
    if re.search(r"[a-z][A-Z]", text):
        return True
    if text.isupper():
        return form not in COMMON and not (len(text) > 4 and form in ordinary)
    return not token.first or form not in COMMON and form not in ordinary


def _quoted(tokens: list[Token]) -> set[str]:
    """Return the words of short quotes."""
    found: set[str] = set()
    opened, inside = "", [""]
    for token in tokens:
        if token.kind != "mark" or token.form not in "'\"\u201c\u201d\u00ab\u00bb":
            inside.append(token.form if token.kind == "word" else "")
        elif opened and len(inside) <= 8:
            found |= {word for word in inside if word and word not in PLAIN}
            opened, inside = "", []
        else:
            opened, inside = token.form, []
    return found


def small(reading: Reading) -> set[str]:
    """Return the words in small letters."""
    return {token.form for token in reading.tokens if token.kind == "word" and token.text[0].islower()}


def mentions(reading: Reading, names: Collection[str]) -> list[Fact]:
    """Find names in any case; one that is also a word of every sentence (will) only by its capital."""
    return [
        Fact("name", token.form, token.text, i, token.clause)
        for i, token in enumerate(reading.tokens)
        if token.kind == "word" and token.form in names and (token.form not in STOP_WORDS or _is_name(token, ()))
    ]

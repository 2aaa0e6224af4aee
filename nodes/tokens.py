"""Cut a text into words, numbers and marks, after what may vary without harm has been put in one form.

Texts are folded (see `masking`), so that no look-alike letter or invisible character hides a word. Contractions,
spelled numbers, idioms and ways to write a time are written in one way. Patterns are linear.
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from understudy.nodes.masking import folded
from understudy.nodes.vocabulary import DAYS, MONTHS, UNITS

FactKind = Literal["name", "number", "price", "date", "time", "link", "negation", "promise", "word"]


class Token(NamedTuple):
    """A word, number or mark of a text; `first` where a capital letter tells nothing, since a sentence begins."""

    kind: str
    text: str
    form: str
    sentence: int
    clause: int
    first: bool


class Fact(NamedTuple):
    """What a text states, in the form that is compared; and how to show it, at which token, in which clause."""

    kind: FactKind
    form: str
    shown: str
    place: int = -1
    clause: int = -1


_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
 seventeen eighteen nineteen""".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {w: 20 + 10 * n for n, w in enumerate(_TENS)}
_VALUES |= {word: value + 1 for value, word in enumerate(_ORDINALS)} | {"twentieth": 20, "thirtieth": 30}
_UNDER_100 = rf"(?:(?:{'|'.join(_TENS)})(?:[ -](?:{'|'.join(_SMALL[1:10])}))?|{'|'.join(reversed(_SMALL))})\b"
_UNDER_1000 = rf"(?:(?:(?:{_UNDER_100}|a) )?hundred\b(?: (?:and )?{_UNDER_100})?|{_UNDER_100})"
_SPELLED = re.compile(
    r"(?P<kept>\b(?:a|one|per|each) second\b(?= ?(?:[^\w ]|$|(?:please|while|and|to|i|for|until|let)\b))"
    r"|\d[ -]second\b)"
    rf"|\b(?:(?P<day>(?:(?:twenty|thirty)[ -])?(?:{'|'.join(_ORDINALS)})|twentieth|thirtieth)"
    rf"|(?P<dozen>{_UNDER_100}|a) dozen|dozen|{_UNDER_1000}(?: (?:thousand|million)\b(?: (?:and )?{_UNDER_1000})?)*"
    r"|a? ?(?:thousand|million))\b",
    re.IGNORECASE,
)


def _in_digits(match: re.Match[str]) -> str:
    """Write a spelled number in digits; whether a lone `one` is a number is not known yet."""
    said = match[0].lower()
    if match["kept"] or said == "one":
        return match[0]
    total = group = 0
    for word in re.findall(r"[a-z]+", said):
        if word in ("hundred", "dozen"):
            group = (group or 1) * (100 if word == "hundred" else 12)
        elif word in ("thousand", "million"):
            total, group = total + (group or 1) * (1000 if word == "thousand" else 10**6), 0
        else:
            group += _VALUES.get(word, 0)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(total + group, "th") if total + group < 21 else ""
    if match["day"]:
        ending = ending or {1: "st", 2: "nd", 3: "rd"}.get(group % 10, "th")
        return f"{total + group}{ending}"
    return f" {total + group}" if said[0] == " " else str(total + group)


LINK = re.compile(
    r"(?i:(?<![a-z0-9+.-])[a-z][a-z0-9+.-]++://[^\s<>\"]+)|(?i:(?<!\w)www\.[^\s<>\"]+)"
    r"|(?<![\w.+%-])[\w.+%-]++@[\w-]+(?:\.[\w-]+)+"
    r"|(?<![\w.@-])(?:[\w-]++\.){1,9}(?:[a-z]{2,24}|[A-Z]{2,24})(?![\w-])(?:[/?#:][^\s<>\"]*)?|(?<![\w@])@[^\W\d]\w+"
)
_LIGATURES = re.compile("[\ufdfa\ufdfb]")
"""Letters that folding would make 18 of."""
_APOSTROPHES = dict.fromkeys(map(ord, "`\u00b4\u2032"), "'")
_STANDING_ALONE = (
    r"(^|[^\w\s'][ \n]?|\n|\b(?:sure|yes|yeah|ok|okay|oh|course|absolutely|alright|great|well) )"
    r"(?:no problems?|no worries|not a problem|no doubt|never mind)(?= ?(?:[^\w\s']|\n|$|(?:i|we|you|at all|let)\b))"
)
_MEASURE = rf"(?= (?:the |a )?(?:[$\u20ac\u00a3]? ?\d|(?:{'|'.join([*DAYS, *MONTHS])})\b))"
_GLAD = "(?:more than )?(?:happy|glad|pleased|delighted) to (?:help|assist)"
_Replacement = str | Callable[[re.Match[str]], str]
_PLAINLY: list[tuple[str, _Replacement]] = [
    (r"[^\S\n\r\v\f\x85\u2028\u2029]+", " "),
    (r"\s*[\n\r\v\f\x85\u2028\u2029]\s*", "\n"),
    (r"\b(?:can't|cannot|cant)\b", "can not"),
    (r"\b(?:won't|wont)\b", "will not"),
    (r"\bshan't\b", "shall not"),
    (r"\b(?:ain't|aint)\b", "is not"),
    (r"\b(do|does|did|is|are|was|were|have|has|had|could|would|should)nt\b", r"\1 not"),
    (r"n't\b", " not"),
    (r"'ll\b", " will"),
    (r"'d\b", " would"),
    (r"\b(what|who|where|when|how|that|it|there|here|he|she)'s\b", r"\1 is"),
    (r"(?<=\w)'(?:s|m|re|ve)\b", ""),
    (r"\bno one\b", "nobody"),
    (_SPELLED.pattern, _in_digits),
    (r"\b(?:nope|nah)\b", "no"),
    (_STANDING_ALONE, r"\1"),
    (r"(^|[^\w\s'] ?|\n)why (?:not|do not (?:we|you))\b", r"\1"),
    (r"\bdo not (?:worry|hesitate)\b|\bcan not wait\b|\bnot to worry\b|\bfeel free\b|\bsee you soon\b", ""),
    (r"\bgood (?:morning|afternoon|evening|night)\b", "hello"),
    (r"\bcredit cards?\b", "card"),
    (r"\bno longer\b", "not anymore"),
    (r"\bany(?: more|more| longer)(?= ?(?:[^\w ]|$))", "anymore"),
    (r"\b(?:unable|not able) to\b", "not can"),
    (r"\bable to\b", "can"),
    (
        r"\bun(?=(?:available|successful|able|confirmed|paid|likely|safe|willing|clear|known|sure|happy|changed)\b)",
        "not ",
    ),
    (
        r"\b(?:im(?=possible\b)|in(?=(?:correct|valid|complete|accessible|active|eligible)\b)|non-?(?=refundable\b))",
        "not ",
    ),
    (r"\bgonna\b", "will"),
    (r"\b(?:(?:am|are|is) )?going to (?!(?:the|a|an|your|my|our|this|that)\b)(?-i:(?=[a-z]))", "will "),
    (r"\b(?:let me|lemme) know\b", "tell me"),
    (r"\b(?:let me|lemme)\b", "I will"),
    (r"\bas soon as possible\b|\ba\.s\.a\.p\b", "asap"),
    (r"\b(?:right away|straight away|at once|instantly|promptly)\b", "immediately"),
    (r"\b(?:make|makes|made|making) sure\b", "ensure"),
    (
        r"\b(?:any|some)thing (?:else|further|more)(?: that)? (?:i|we) (?:can|could|may) (?:do for|help|assist)\b",
        "anything else",
    ),
    (r"\bfree of charge\b", "free"),
    (rf"\b(i|we) (?:would|will) be {_GLAD}\b", r"\1 am glad"),
    (r"\b(i|we|you) would (?:really |also )?(?:like|love|prefer)\b", r"\1 like"),
    (r"\bprior to\b", "before"),
    (rf"\b(?:no|not) later than\b{_MEASURE}", "by"),
    (rf"\b(?:at least|(?:no|not) (?:less|fewer) than)\b{_MEASURE}", "atleast"),
    (rf"\b(?:at most|(?:no|not) more than)\b{_MEASURE}", "atmost"),
    (r"\bup to\b", "upto"),
    (r"\b(?:more|greater|longer) than\b", "over"),
    (r"\b(?:less|fewer) than\b", "under"),
    (r"\b(?:approximately|approx|roughly|around)\b", "about"),
    (r"\bas of\b", "from"),
    (r"\b(?:up until|until|till|til)\b", "until"),
    (r"\b(?:through|thru)\b", "to"),
    (r"\bper cent\b", "percent"),
    (r"\bdaily\b", "every day"),
    (r"\bweekly\b", "every week"),
    (r"\bmonthly\b", "every month"),
    (r"\b(?:yearly|annually)\b", "every year"),
]
_REWORDINGS = [(re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in _PLAINLY]
_CLOCK = r"\d{1,2}(?:[:.]\d{2})?\s{0,2}[AaPp]\.?[Mm](?!\w)(?:\.(?=\s?[a-z,;)]))?"
_PIECE = re.compile(
    rf"(?P<clock>(?<![\d.])(?:{_CLOCK}|\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?!\d)|\d{{1,2}} ?[oO]'[cC]lock\b))"
    rf"|(?P<hour>(?<![\d.,:])\d{{1,2}}(?= ?(?:-|to|until) ?{_CLOCK}))"
    r"|(?P<day>(?<!\d)(?:\d{4}-\d{2}-\d{2}|\d{1,4}([/.])\d{1,2}\4\d{1,4})(?!\d))"
    r"|(?P<run>[^\W_]+(?:(?:['_/-]|(?<=\d)[.,](?=\d))[^\W_]+)*)|(?P<mark>\n|[^\s])"
)
_ENDS = frozenset(".!?\n\u3002\uff1f")
_JOINS = frozenset("but and while whereas however although though".split())


def plainly(text: str) -> str:
    """Return a text with what may vary without harm in one form."""
    text = folded(_LIGATURES.sub(" \u25c6 ", text).translate(_APOSTROPHES))
    for pattern, replacement in _REWORDINGS:
        text = pattern.sub(replacement, text)
    return text


def tokens_of(text: str) -> list[Token]:
    """Cut a text that is in its one form."""
    tokens: list[Token] = []
    sentence = clause = said = 0
    first = True
    for kind, piece in _pieces(text):
        form = piece.casefold()
        clause += form in _JOINS
        tokens.append(Token(kind, piece, form, sentence, clause, first))
        if kind != "mark":
            first, said = False, said + 1
        elif piece in _ENDS:
            sentence, clause, said, first = sentence + 1, clause + 1, 0, True
        elif piece in ":;*" or not piece.isascii() or piece == "," and said < 4:
            first = True
    return tokens


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    for match in _PIECE.finditer(text):
        kind = str(match.lastgroup)
        if kind == "run":
            yield from _parts(match[0])
        elif kind == "hour":
            yield _hour(match[0], text[match.end() : match.end() + 16])
        else:
            yield kind, match[0]


def _hour(hour: str, rest: str) -> tuple[str, str]:
    """Read the 2 of `2-4 pm` as 2 pm; that of `11-2 pm` may be anything."""
    end = re.search(r"(\d+)[^ap]*([ap])", rest, re.IGNORECASE)
    return ("clock", f"{hour} {end[2]}m") if end and int(hour) < int(end[1]) < 12 else ("number", hour)


def _parts(run: str) -> Iterator[tuple[str, str]]:
    """Part a run of letters and digits into words, numbers and codes such as A-123b."""
    if run.isalpha():
        yield "word", run
        return
    has_digit = any(map(str.isdigit, run))
    measure = re.fullmatch(r"(\d+(?:[.,]\d+)*)-?([^\W\d_]+)", run)
    if measure and measure[2].lower() in UNITS:
        yield "number", measure[1]
        yield "word", measure[2]
    elif re.fullmatch(r"\d+(?:st|nd|rd|th)", run, re.IGNORECASE):
        yield "number", run.lower()
    elif has_digit and any(map(str.isalpha, run)):
        yield "code", run
    else:
        for part in re.finditer(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*|[^\s]", run):
            yield ("number" if part[0][0].isdigit() else "word" if part[0][0].isalpha() else "mark"), part[0]
